"""What guides the class token inside a crop, as plain arrays (*ours*); S is the side of a crop."""

from __future__ import annotations

import numpy as np

from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray

__all__ = ["anomaly_values", "centre_window", "guide_values"]


def anomaly_values(mask: MaskArray, amap: FloatArray) -> FloatArray:
    """A = max(mask, map): the anomaly map, inside the region's mask counting fully.

    The body of a region weighs the same whether its detector scored it high or just above the
    threshold, and weak context still counts by its score.

    Args:
        mask: binarised map (..., S, S).
        amap: normalised map in [0, 1], (..., S, S).

    Returns:
        (..., S, S), in [0, 1].
    """
    return np.maximum(np.asarray(mask, np.float32), np.asarray(amap, np.float32))


def guide_values(
    mask: MaskArray, amap: FloatArray, on_object: MaskArray | None = None
) -> FloatArray:
    """All that guides the class token.

    Args:
        mask: binarised map (S, S).
        amap: normalised map in [0, 1], (S, S).
        on_object: object mask (S, S); None = everything is object.

    Returns:
        Anomaly values (S, S); with an object mask anomaly and object values, (S, S, 2).
    """
    anomaly = anomaly_values(mask, amap)
    if on_object is None:
        return anomaly
    return np.stack([anomaly, np.asarray(on_object, np.float32)], axis=-1)


def centre_window(crop: ImageArray | FloatArray, side: int) -> ImageArray | FloatArray:
    """The central ``side`` x ``side`` window of a square crop (S, S, ...)."""
    offset = (crop.shape[0] - side) // 2
    return crop[offset : offset + side, offset : offset + side]
