"""L_dapl: each view learns the pseudo-labels of the other."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["cross_view"]


def cross_view(targets1: Tensor, targets2: Tensor, logits1: Tensor, logits2: Tensor) -> Tensor:
    """Mean cross-entropy of view 2 against the targets of view 1, and the other way round.

    ::

        L = -1/(2n) sum_i sum_k [ q1_ik log p2_ik + q2_ik log p1_ik ],   p = softmax(logits)

    Source: [ref] mashijie1028/ProtoGCD, ``models/loss.py`` (``DistillLoss_ratio``); the same sum
    is in SimGCD and AnomalyNCD, which differ in the targets only. The references build targets
    and loss in one class; here the targets come from `pseudo_labels` and are taken as constants.

    Args:
        targets1: (n, K) target probabilities made from view 1; no gradient flows into them.
        targets2: (n, K) the same from view 2.
        logits1: (n, K) cosines of view 1 divided by the temperature (0.1).
        logits2: (n, K) the same of view 2.

    Returns:
        scalar; 0 for n = 0.
    """
    shapes = [tuple(x.shape) for x in (targets1, targets2, logits1, logits2)]
    if logits1.ndim != 2 or len(set(shapes)) > 1:
        raise ValueError(f"expected four (n, K) tensors of one shape, got {shapes}")
    if len(logits1) == 0:
        return logits1.sum() + logits2.sum()
    first = -(targets1.detach() * F.log_softmax(logits2, dim=1)).sum(dim=1)
    second = -(targets2.detach() * F.log_softmax(logits1, dim=1)).sum(dim=1)
    return (first.mean() + second.mean()) / 2
