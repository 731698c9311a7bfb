"""L_ce: labelled samples go to their class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["cross_entropy"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy; unlike torch's it is 0, not nan, for a batch without labelled samples.

    Source: [ref] mashijie1028/ProtoGCD, ``train.py``, the same in SimGCD and AnomalyNCD, which
    skips a batch that lacks labelled or unlabelled samples instead.

    Args:
        logits: (n, K) cosines of the labelled samples divided by the temperature (0.1).
        labels: (n,) integer class of each.

    Returns:
        scalar, at least 0; 0 for n = 0.
    """
    if len(logits) == 0:
        return logits.sum()
    return F.cross_entropy(logits, labels)
