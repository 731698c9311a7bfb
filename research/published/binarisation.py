"""AnomalyNCD's main element binarisation, step for step, on 8-bit maps.

Source: [ref] HUST-SLOW/AnomalyNCD, ``models/modules/_MEBin.py``: masks, thresholds and counts are
identical (golden tests). Its 6 x 6 erosion deletes what is thinner than 6 px.

Speed (ours): the reference thresholds, erodes and counts 64 times. Flat erosion commutes with
thresholding, erode(A > t) = (grey-erode(A) > t), so one grey erosion serves all thresholds; the
count is the product's own.
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.core.errors import AnomalyMapError
from protoanomalyncd.core.records import FloatArray, MapRange
from protoanomalyncd.regions import Binarisation, fit_range
from protoanomalyncd.regions.mebin import count_components, stable_run

__all__ = ["range_of_maxima", "reference_binarise", "to_eight_bit"]

ByteArray: TypeAlias = npt.NDArray[np.uint8]


def range_of_maxima(
    maxima: FloatArray,
    normal_maxima: FloatArray | None = None,
    config: MEBinConfig | None = None,
    background: float | None = None,
) -> MapRange:
    """Smallest and largest image maximum, as the reference has it; see `fit_range`.

    Args:
        maxima: largest score of each image of the set (n,).
        normal_maxima: not read.
        config: not read.
        background: lower end for sets without a normal image; None = the smallest maximum.
    """
    del normal_maxima, config
    return fit_range(maxima, None, MEBinConfig(set_quantile=0), background)


def to_eight_bit(amap: FloatArray, map_range: MapRange) -> ByteArray:
    """Quantise scores to 0..255 on a range, truncating, as an 8-bit map file does; any shape.

    Raises:
        AnomalyMapError: a score is not finite.
    """
    if not np.isfinite(amap).all():
        raise AnomalyMapError("expected finite anomaly scores, got NaN or infinity")
    scaled = (np.asarray(amap, np.float32) - map_range.low) / (map_range.high - map_range.low)
    return np.asarray(np.clip(scaled * 255, 0, 255), np.uint8)


def reference_binarise(
    amap: FloatArray | ByteArray,
    map_range: MapRange,
    *,
    resolution: int = 256,
    step: int = 4,
    erosion: int = 6,
    min_run: int = 4,
) -> Binarisation:
    """Cut the anomalies out of one map.

    Args:
        amap: anomaly scores, (h, w), finite. A uint8 map is taken as it is, `map_range` then being
            the reference's integers (s_min, s_max); a float map is quantised on `map_range` first.
        map_range: range of the data set's maps.
        resolution: side of the square to which the map is resized [px].
        step: distance of two thresholds.
        erosion: side of the erosion kernel [px at `resolution`]; 0 = none.
        min_run: thresholds in a row with the same count that make it stable.

    Returns:
        The mask is where the resized and eroded map lies above the threshold. The reference
        truncates the threshold after counting, so the mask may have more or fewer components than
        `n_components`.

    Raises:
        AnomalyMapError: the map is empty, not two-dimensional, or not finite.
    """
    if amap.ndim != 2 or amap.size == 0:
        raise AnomalyMapError(f"expected an anomaly map of shape (h, w), got {amap.shape}")
    if amap.dtype == np.uint8:
        eight_bit, low, high = _bytes(amap), int(map_range.low), int(map_range.high)
        offset, unit = 0.0, 1.0
    else:
        eight_bit, low, high = to_eight_bit(np.asarray(amap, np.float32), map_range), 0, 255
        offset, unit = map_range.low, (map_range.high - map_range.low) / 255
    if high <= low:
        raise AnomalyMapError(f"expected a range of 8-bit scores, got low {low}, high {high}")
    square = (resolution, resolution)
    if eight_bit.shape != square:
        eight_bit = _bytes(cv2.resize(eight_bit, square, interpolation=cv2.INTER_LINEAR))
    if erosion:
        eight_bit = _bytes(cv2.erode(eight_bit, np.ones((erosion, erosion), np.uint8)))
    thresholds = np.arange(255, 0, -step)
    levels = _bytes(cv2.LUT(eight_bit, _level_table(low, high, thresholds)))
    run = stable_run(count_components(levels, len(thresholds)), min_run)
    if run is None:
        return Binarisation(np.zeros(square, np.bool_), None, 0)
    # The reference truncates here, so the mask is not exactly a swept one.
    threshold = int(int(thresholds[run.end]) * (high - low) / 255 + low)
    return Binarisation(eight_bit > threshold, offset + unit * threshold, run.count)


def _level_table(low: int, high: int, thresholds: npt.NDArray[np.int64]) -> ByteArray:
    """Level of each 8-bit score, (256,); below `low` it is 0."""
    scores = np.arange(256)
    rescaled = np.where(scores < low, 0.0, (scores - low) / (high - low) * 255)
    return np.asarray((rescaled[:, None] > thresholds).sum(axis=1), np.uint8)


def _bytes(array: object) -> ByteArray:
    return np.asarray(array, np.uint8)
