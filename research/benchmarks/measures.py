"""How well a score tells unseen things from known ones: AUROC and FPR95.

Letters: p positives (unseen), n negatives (known).
"""

from __future__ import annotations

import math

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

__all__ = ["auroc", "false_positive_rate"]


def auroc(unseen: Tensor, known: Tensor) -> float:
    """Probability that an unseen thing scores higher than a known one; ties count half.

    Args:
        unseen: scores of the positives (p,), at least one.
        known: scores of the negatives (n,), at least one.

    Returns:
        In [0, 1]; 0.5 = luck.
    """
    truth = torch.cat([torch.ones(len(unseen)), torch.zeros(len(known))])
    return float(roc_auc_score(truth, torch.cat([unseen, known]).double()))


def false_positive_rate(unseen: Tensor, known: Tensor, recall: float = 0.95) -> float:
    """Share of known things that are rejected when at least `recall` of the unseen ones are.

    The highest threshold that reaches the recall counts. Where the reference (CIDER and ProtoGCD,
    ``fpr_and_fdr_at_recall``) differs: it takes the recall *nearest* to 0.95, which may lie below
    it, and of all thresholds with that recall the lowest.

    Args:
        unseen: scores of the positives (p,), at least one.
        known: scores of the negatives (n,), at least one.
        recall: wanted share of the positives, in (0, 1].

    Returns:
        In [0, 1]; 0 = perfect.
    """
    falling = unseen.double().sort(descending=True).values
    needed = math.ceil(len(falling) * recall - 1e-9)
    limit = falling[max(needed, 1) - 1]
    return float((known.double() >= limit).double().mean())
