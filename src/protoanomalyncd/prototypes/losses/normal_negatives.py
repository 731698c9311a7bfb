"""L_con with hard negatives: a region is to differ from the normal parts of the crops."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["normal_negatives"]


def normal_negatives(
    z1: Tensor,
    z2: Tensor,
    normal1: Tensor,
    normal2: Tensor,
    anomalous: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """InfoNCE whose anchors with a region have the normal parts of the batch as further negatives.

    ::

        L = -1/(2n) sum_a log[ exp(z_a . z_a' / tau)
                / ( sum_{b != a} exp(z_a . z_b / tau) + h_a sum_{c: h_c} exp(z_a . n_c / tau) ) ]

    where a, b and c run over all views, a' is the other view of the same sample, n_c the embedding
    of the same view guided to its normal part, and h = 1 for crops with a region: the normal part
    of an image without one is the image itself.

    Source: *ours*, a reading of the paper's "preserving normal features for contrastive learning".
    Without a region it is `info_nce`.

    Args:
        z1: (n, d) projections of the first view, normalised here.
        z2: (n, d) of the second view.
        normal1: (n, d) of the first view, guided to the normal part.
        normal2: (n, d) of the second view, guided so.
        anomalous: h, bool (n,).
        temperature: tau.

    Returns:
        scalar, at least 0; 0 for n = 0.
    """
    shapes = [tuple(x.shape) for x in (z1, z2, normal1, normal2)]
    if z1.ndim != 2 or len(set(shapes)) > 1 or anomalous.shape != z1.shape[:1]:
        raise ValueError(
            f"expected four (n, d) tensors and anomalous (n,), got {shapes} and "
            f"{tuple(anomalous.shape)}"
        )
    n = len(z1)
    if n == 0:
        return z1.sum() + z2.sum()
    unit = F.normalize(torch.cat((z1, z2)), dim=1)
    normal = F.normalize(torch.cat((normal1, normal2)), dim=1)
    region = anomalous.repeat(2)
    own = torch.eye(2 * n, dtype=torch.bool, device=z1.device)
    among = (unit @ unit.T / temperature).masked_fill(own, -torch.inf)
    against = (unit @ normal.T / temperature).masked_fill(
        ~(region[:, None] & region[None, :]), -torch.inf
    )
    partner = torch.arange(2 * n, device=z1.device).roll(n)
    return F.cross_entropy(torch.cat((among, against), dim=1), partner)
