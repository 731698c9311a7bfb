"""L_sep: prototypes keep their distance from each other."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["separation_loss"]


def separation_loss(prototypes: Tensor, temperature: float = 0.1) -> Tensor:
    """Log of the mean similarity to the other prototypes, averaged over prototypes.

    ::

        L = 1/K sum_k log[ 1/(K-1) sum_{j != k} exp(mu_k . mu_j / tau) ]

    Source: [ref] mashijie1028/ProtoGCD, ``models/loss.py`` (``prototype_separation_loss``), which
    takes it from CIDER. Differences: rows are normalised here (there by the head); the sum is a
    log-sum-exp, so that small temperatures do not overflow; there is no factor tau / 0.1, which
    the reference multiplies on (it is 1 at its own temperature).

    Args:
        prototypes: (K, d), normalised here.
        temperature: tau.

    Returns:
        scalar in [-1/tau, 1/tau]; 0 for K < 2.
    """
    if prototypes.ndim != 2:
        raise ValueError(f"expected prototypes (K, d), got {tuple(prototypes.shape)}")
    k = len(prototypes)
    if k < 2:
        return prototypes.sum() * 0
    unit = F.normalize(prototypes, dim=1)
    own = torch.eye(k, dtype=torch.bool, device=prototypes.device)
    similarity = (unit @ unit.T / temperature).masked_fill(own, -torch.inf)
    return (torch.logsumexp(similarity, dim=1) - math.log(k - 1)).mean()
