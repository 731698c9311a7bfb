"""L_ent: the batch as a whole uses all classes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["entropy_loss"]


def entropy_loss(logits: Tensor) -> Tensor:
    """Entropy that the mean prediction lacks to be uniform.

    ::

        L = log K + sum_k pbar_k log pbar_k,   pbar = mean over samples of softmax(logits)

    0 when all classes are used equally, log K when one class takes everything.

    Source: [ref] mashijie1028/ProtoGCD, ``models/loss.py`` (``entropy_regularization_loss``);
    "memax" in SimGCD and AnomalyNCD. The reference takes log(pbar ** -pbar), whose gradient is
    nan once an entry underflows to 0; here log pbar is formed in log space and stays finite.
    The classes are the columns given: for the mean over novel classes pass those columns only.

    Args:
        logits: (n, K) cosines divided by the temperature (0.1), both views stacked.

    Returns:
        scalar in [0, log K]; 0 for n = 0.
    """
    if logits.ndim != 2:
        raise ValueError(f"expected logits (n, K), got {tuple(logits.shape)}")
    n, k = logits.shape
    if n == 0:
        return logits.sum()
    log_mean = torch.logsumexp(F.log_softmax(logits, dim=1), dim=0) - math.log(n)
    return math.log(k) + (log_mean.exp() * log_mean).sum()
