"""L_con: the two views of a sample find each other in the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["info_nce"]


def info_nce(z1: Tensor, z2: Tensor, temperature: float = 1.0) -> Tensor:
    """InfoNCE over the 2n views of n samples.

    ::

        L = -1/(2n) sum_a log[ exp(z_a . z_a' / tau) / sum_{b != a} exp(z_a . z_b / tau) ]

    where a runs over all views and a' is the other view of the same sample.

    Source: [ref] mashijie1028/ProtoGCD, ``models/loss.py`` (``info_nce_logits`` and torch's
    cross-entropy), the same in SimGCD and AnomalyNCD. For n = 1 there is no negative: 0 here, an
    error there.

    Args:
        z1: (n, d) projections of the first view, normalised here.
        z2: (n, d) projections of the second view, normalised here.
        temperature: tau.

    Returns:
        scalar, at least 0; 0 for n = 0 and n = 1.
    """
    if z1.ndim != 2 or z1.shape != z2.shape:
        raise ValueError(
            f"expected two (n, d) tensors, got {tuple(z1.shape)} and {tuple(z2.shape)}"
        )
    n = len(z1)
    if n == 0:
        return z1.sum() + z2.sum()
    unit = F.normalize(torch.cat((z1, z2)), dim=1)
    own = torch.eye(2 * n, dtype=torch.bool, device=z1.device)
    similarity = (unit @ unit.T / temperature).masked_fill(own, -torch.inf)
    partner = torch.arange(2 * n, device=z1.device).roll(n)
    return F.cross_entropy(similarity, partner)
