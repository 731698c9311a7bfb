"""AnomalyNCD's mask-guided attention, step for step.

Source: [ref] HUST-SLOW/AnomalyNCD, ``models/modules/_MGViT.py`` (golden test): M_j = 0 where the
pooled binary mask is at least 0.5, else -1e9, and an empty mask closes every patch, so that the
class token is left alone with itself.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.core.records import FloatArray, MaskArray
from protoanomalyncd.vit import GuidedEncoder
from protoanomalyncd.vit.guidance import CLOSED

__all__ = ["ReferenceEncoder", "reference_bias"]


def reference_bias(mask: Tensor) -> Tensor:
    """Pooled mask (B, P) -> logits (B, P)."""
    return torch.where(mask >= 0.5, 0.0, CLOSED).to(mask.dtype)


class ReferenceEncoder(GuidedEncoder):
    """Guided by the binary mask alone."""

    def guide_values(
        self, mask: MaskArray, amap: FloatArray, on_object: MaskArray | None = None
    ) -> FloatArray:
        """The mask (S, S) as numbers; map and object do not count."""
        del amap, on_object
        return np.asarray(mask, np.float32)

    def attention_bias(self, anomaly: Tensor, on_object: Tensor | None) -> Tensor:
        """`reference_bias` of the mask."""
        del on_object
        return reference_bias(anomaly)
