"""What training knows of each crop beside its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protoanomalyncd.regions.crop_set import CropSet

__all__ = ["Samples"]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Scores and labels of n crops.

    Args:
        anomalous: whether each crop holds a region, bool (n,); False = a whole image without one.
        scores: anomaly scores in [0, 1], (n,).
        labels: known classes, -1 = unlabelled, (n,).
    """

    anomalous: Tensor
    scores: Tensor
    labels: Tensor

    @classmethod
    def of(cls, crops: CropSet) -> Samples:
        """Those of a set of crops."""
        arrays = (crops.anomalous, crops.scores, crops.labels)
        return cls(*(torch.tensor(values) for values in arrays))
