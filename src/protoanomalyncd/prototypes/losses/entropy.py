"""L_ent: the batch as a whole uses all classes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["entropy_loss"]


def entropy_loss(logits: Tensor, prior: Tensor | None = None) -> Tensor:
    """Entropy that the mean prediction lacks to be uniform, or its divergence from a prior.

    ::

        L = log K + sum_k pbar_k log pbar_k,   pbar = mean over samples of softmax(logits)
        L = sum_k pbar_k log(pbar_k / prior_k)

    0 when all classes are used equally (as the prior says), log K when one class takes everything.
    The first is the second with prior_k = 1 / K. *Ours*: that there may be another prior. A line's
    types of defect are not equally frequent, and to make them so tears the frequent ones apart.

    Source: [ref] mashijie1028/ProtoGCD, ``models/loss.py`` (``entropy_regularization_loss``);
    "memax" in SimGCD and AnomalyNCD. The reference takes log(pbar ** -pbar), whose gradient is
    nan once an entry underflows to 0; here log pbar is formed in log space and stays finite.
    The classes are the columns given: for the mean over novel classes pass those columns only.

    Args:
        logits: (n, K) cosines divided by the temperature (0.1), both views stacked.
        prior: expected shares of the classes (K,), above 0, sum 1; None = all alike.

    Returns:
        scalar, at least 0, at most -log of the smallest prior (log K); 0 for n = 0.
    """
    if logits.ndim != 2:
        raise ValueError(f"expected logits (n, K), got {tuple(logits.shape)}")
    n, k = logits.shape
    if n == 0:
        return logits.sum()
    log_mean = torch.logsumexp(F.log_softmax(logits, dim=1), dim=0) - math.log(n)
    if prior is None:
        return math.log(k) + (log_mean.exp() * log_mean).sum()
    if prior.shape != (k,):
        raise ValueError(f"expected prior ({k},), got {tuple(prior.shape)}")
    return (log_mean.exp() * (log_mean - prior.log())).sum()
