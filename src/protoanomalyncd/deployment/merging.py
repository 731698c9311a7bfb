"""From the regions of an image to the image: `discovery.merge_regions` for one image, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protoanomalyncd.core.records import FloatArray

__all__ = ["merge"]


def merge(
    probabilities: FloatArray, areas: npt.NDArray[np.float64], temperature: float
) -> FloatArray:
    """Class probabilities of an image: the mean of its regions', weighted by their size.

    The weights are softmax(sqrt(area) / T); source: see `discovery.merge_regions`.

    Args:
        probabilities: of the regions (R, N), R at least 1.
        areas: share of the image that each region covers, at least 0, (R,).
        temperature: T.

    Returns:
        (N,).
    """
    logits = np.sqrt(areas.astype(np.float64)) / temperature
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    rows = probabilities.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    merged: FloatArray = (weights[:, None] * rows).sum(axis=0).astype(np.float32)
    return merged
