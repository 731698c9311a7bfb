"""L_supcon: all views of a known class attract each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["supervised_contrastive"]


def supervised_contrastive(z: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss over the v n views of n labelled samples.

    ::

        L = -1/(vn) sum_a 1/|P(a)| sum_{p in P(a)} log[ exp(z_a . z_p / tau)
                                                        / sum_{b != a} exp(z_a . z_b / tau) ]

    where P(a) holds the other views with the label of view a.

    Source: [ref] mashijie1028/ProtoGCD, ``models/loss.py`` (``SupConLoss``, "all" mode), the same
    in SimGCD and AnomalyNCD. Differences: vectors are normalised here (there by the caller);
    there is no factor tau / 0.07, which is 1 at the references' own temperature; no labelled
    sample gives 0 (there: nan).

    Args:
        z: (n, v, d) projections, v >= 2 views of each sample (usually 2), normalised here.
        labels: (n,) integer class of each sample.
        temperature: tau.

    Returns:
        scalar, at least 0; 0 for n = 0.
    """
    if z.ndim != 3 or z.shape[1] < 2 or labels.shape != z.shape[:1]:
        raise ValueError(
            f"expected z (n, v >= 2, d) and labels (n,), "
            f"got {tuple(z.shape)} and {tuple(labels.shape)}"
        )
    n, v, d = z.shape
    if n == 0:
        return z.sum()
    unit = F.normalize(z.reshape(n * v, d), dim=1)
    classes = labels.repeat_interleave(v)
    own = torch.eye(n * v, dtype=torch.bool, device=z.device)
    similarity = unit @ unit.T / temperature
    log_denominator = torch.logsumexp(similarity.masked_fill(own, -torch.inf), dim=1, keepdim=True)
    positive = (classes[:, None] == classes[None, :]) & ~own
    log_ratio = (similarity - log_denominator).masked_fill(~positive, 0)
    return -(log_ratio.sum(dim=1) / positive.sum(dim=1)).mean()
