"""Main element binarisation: a map's own stable threshold.

Source: AnomalyNCD's `models/modules/_MEBin.py` (Huang et al., CVPR 2025). Thresholds are swept
from high to low; the number of connected components is counted at each; the longest run of
thresholds with the same count is taken for the true structure of the map. Ours: the float map is
swept, resized relative to its own size; nothing is eroded, components below a small area are
dropped instead, so thin cracks survive; and the threshold is the run's middle, not its lowest,
which floods what surrounds a defect (docs/defaults.md). AnomalyNCD's procedure step for step:
``research/published/binarisation.py``.

Speed (ours): every pixel gets its *level*, the number of thresholds below its value; level sets are
nested, so the sweep runs from the largest set to the smallest and each count looks at the bounding
box of the one before, and at no level that the map does not reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.core.errors import AnomalyMapError
from protoanomalyncd.core.records import FloatArray, MapRange, MaskArray

__all__ = [
    "Binarisation",
    "StableRun",
    "binarise",
    "count_components",
    "default_resolution",
    "stable_run",
]

ByteArray: TypeAlias = npt.NDArray[np.uint8]

UPSAMPLING = 3
"""Mask pixels per map pixel and axis. Odd, so that every map pixel's centre is hit:
at even factors bilinear interpolation lowers each peak, and weak defects are lost."""
LARGEST_SIDE = 512
"""Maps are upsampled to at most, and larger ones shrunk to, this side [px]."""


@dataclass(frozen=True, slots=True)
class Binarisation:
    """What `binarise` found in one map.

    Args:
        mask: True = anomaly, (resolution, resolution); all False where nothing is stable.
        threshold: the mask is where the resized map lies above it [map units]; None where no run of
            thresholds is stable: no anomaly.
        n_components: number of anomalies: components of the mask; 0 where `threshold` is None.
    """

    mask: MaskArray
    threshold: float | None
    n_components: int


@dataclass(frozen=True, slots=True)
class StableRun:
    """The longest run of thresholds with one non-zero component count.

    Args:
        count: the number of components.
        start: index of its first, highest threshold in the sweep (0 = highest threshold).
        end: index of its last, lowest threshold.
    """

    count: int
    start: int
    end: int


def binarise(amap: FloatArray, map_range: MapRange, config: MEBinConfig) -> Binarisation:
    """Cut the anomalies out of one map.

    Args:
        amap: anomaly scores, (h, w), finite.
        map_range: range of the data set's maps, from `fit_range`.
        config: parameters.

    Raises:
        AnomalyMapError: the map is empty, not two-dimensional, or not finite.
    """
    if amap.ndim != 2 or amap.size == 0:
        raise AnomalyMapError(f"expected an anomaly map of shape (h, w), got {amap.shape}")
    scores = np.asarray(amap, np.float32)
    if not np.isfinite(scores).all():
        raise AnomalyMapError("expected finite anomaly scores, got NaN or infinity")
    side = config.resolution or default_resolution(scores.shape)
    normalised = map_range.normalise(scores)
    if normalised.shape != (side, side):
        shrinks = max(normalised.shape) > side
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(normalised, (side, side), interpolation=method)
        normalised = np.asarray(resized, np.float32)
    if config.erosion:
        kernel = np.ones((config.erosion, config.erosion), np.uint8)
        normalised = np.asarray(cv2.erode(normalised, kernel), np.float32)
    min_area = config.min_area * side * side / scores.size
    # Thresholds 255, 255 - step, ... > 0 of 255; a level is the number of thresholds below.
    n_levels = len(range(255, 0, -config.step))
    lowest = 255 - (n_levels - 1) * config.step
    levels = np.ceil((normalised * 255 - lowest) / config.step).clip(0, n_levels).astype(np.uint8)
    run = stable_run(count_components(levels, n_levels, min_area), config.min_run)
    if run is None:
        return Binarisation(np.zeros((side, side), np.bool_), None, 0)
    chosen = run.start + int(config.run_position * (run.end - run.start) + 0.5)
    mask = _without_small(levels >= n_levels - chosen, min_area)
    share = (255 - chosen * config.step) / 255
    threshold = map_range.low + share * (map_range.high - map_range.low)
    return Binarisation(mask, threshold, run.count)


def default_resolution(shape: tuple[int, ...]) -> int:
    """Side of the mask for a map of (h, w) [px]."""
    longer = max(shape)
    return longer * UPSAMPLING if longer * UPSAMPLING <= LARGEST_SIDE else min(longer, LARGEST_SIDE)


def count_components(
    levels: ByteArray, n_levels: int, min_area: float = 0.0
) -> npt.NDArray[np.int64]:
    """Numbers of 8-connected components of all level sets.

    Args:
        levels: level of every pixel, (h, w), 0..n_levels.
        n_levels: number of thresholds.
        min_area: smaller components do not count [pixels of `levels`].

    Returns:
        Counts by threshold, high to low, (n_levels,): entry i counts {levels >= n_levels - i}.
    """
    counts = np.zeros(n_levels, np.int64)
    for level in range(1, int(levels.max()) + 1):
        above = (levels >= level).view(np.uint8)
        x, y, w, h = cv2.boundingRect(above)
        levels, above = levels[y : y + h, x : x + w], above[y : y + h, x : x + w]
        if min_area > 1:
            _, _, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
            counts[n_levels - level] = np.count_nonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area)
        else:
            counts[n_levels - level] = cv2.connectedComponents(above, connectivity=8)[0] - 1
    return counts


def stable_run(counts: Sequence[int] | npt.NDArray[np.int64], min_run: int) -> StableRun | None:
    """The reference's choice among the runs of equal counts, ties included.

    Of all runs of the same non-zero count that are at least `min_run` long: the longest. Between
    two counts with equally long longest runs the one met first (at higher thresholds) wins,
    between two such runs of one count the last.

    Args:
        counts: component counts, high threshold to low, (n,).
        min_run: thresholds in a row that make a count stable.
    """
    values = np.asarray(counts, np.int64)
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    lengths = np.diff(starts, append=len(values))
    best: StableRun | None = None
    met: list[int] = []  # stable counts, in the order of their first stable run
    best_length = 0
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        count = int(values[start])
        if count == 0 or length < min_run:
            continue
        if count not in met:
            met.append(count)
        wins_tie = best is not None and met.index(count) <= met.index(best.count)
        if length > best_length or (length == best_length and wins_tie):
            best, best_length = StableRun(count, start, start + length - 1), length
    return best


def _without_small(mask: MaskArray, min_area: float) -> MaskArray:
    if min_area <= 1:
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_area
    keep[0] = False
    return np.asarray(keep[labels], np.bool_)
