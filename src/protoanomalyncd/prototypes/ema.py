"""Prototypes that follow the embeddings: an exponential moving average instead of a gradient.

Source: [ref] CIDER (deeplearning-wisc/cider, ``utils/losses.py``, ``DisLoss``). There the moving
average is taken and the prototypes are pushed apart in one class; here `ema_prototypes` moves them,
and CIDER's dispersion loss is `separation_loss` of what it returns: the formula is the same
(ProtoGCD took it from CIDER), and its gradient reaches the embeddings through the average.

Letters: n samples, d dimensions, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ema_prototypes"]


def ema_prototypes(prototypes: Tensor, z: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """Move each prototype towards its samples, one sample after the other.

    ::

        mu_k <- normalise(m mu_k + (1 - m) z_i)      for every sample i of class k, in their order

    Source: [ref] CIDER. Classes do not meet, so the first samples of all classes are taken at
    once, then the second ones, ...: as many steps as the largest class has samples, not n.

    Args:
        prototypes: unit directions (K, d).
        z: unit embeddings (n, d).
        labels: class of each, whole numbers in [0, K), (n,).
        momentum: m in [0, 1); CIDER's scripts use 0.95 for ten classes and 0.5 for a hundred.

    Returns:
        (K, d), unit rows; a class without a sample stays. Gradients flow into `z`.
    """
    if z.ndim != 2 or prototypes.shape[1:] != z.shape[1:] or labels.shape != z.shape[:1]:
        raise ValueError(
            f"expected prototypes (K, d), z (n, d) and labels (n,), got {tuple(prototypes.shape)}, "
            f"{tuple(z.shape)} and {tuple(labels.shape)}"
        )
    own = F.one_hot(labels, len(prototypes))
    rank = (own.cumsum(dim=0) * own).sum(dim=1)  # 1 = first of its class
    for place in range(1, int(rank.max()) + 1 if len(rank) else 1):
        chosen = torch.nonzero(rank == place).flatten()
        classes = labels[chosen]
        moved = momentum * prototypes[classes] + (1 - momentum) * z[chosen]
        prototypes = prototypes.index_copy(0, classes, F.normalize(moved, dim=1))
    return prototypes
