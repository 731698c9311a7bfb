"""AnomalyNCD's crop boxes, followed step for step.

Source: [ref] HUST-SLOW/AnomalyNCD, `crop_sub_image_mask` and `merge_crop_boxes` in
``models/modules/_MEBin.py``. Known
defects are kept: crops may overlap each other and overhang a non-square image, and one crop more
than estimated is returned.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from protoanomalyncd.config import CropConfig
from protoanomalyncd.core.records import Box, FloatArray
from protoanomalyncd.regions.proposals import MAX_HALF_SIDE, MERGE_DISTANCE

__all__ = ["Square", "reference_boxes", "reference_score"]

Square: TypeAlias = tuple[float, float, float, float]
"""(x0, y0, x1, y1); a merged square may have half pixels."""


def reference_boxes(
    mask: npt.NDArray[np.uint8], config: CropConfig, n_components: int | None
) -> list[Square]:
    """Crop squares of one image, the largest first; none where the mask is empty.

    Args:
        mask: non-zero = anomaly, (H, W), at the image's resolution.
        config: margin and smallest half side.
        n_components: estimated number of anomalies; one crop more is kept. None = all.
    """
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = sorted((w * h, (x, y, w, h)) for x, y, w, h in (cv2.boundingRect(c) for c in contours))
    squares = [_square(box, mask.shape[0], mask.shape[1], config) for _, box in boxes]
    merged = _merge(squares, int(max(mask.shape) * MERGE_DISTANCE))
    merged.sort(key=lambda s: (s[2] - s[0]) * (s[3] - s[1]), reverse=True)
    return merged if n_components is None else merged[: n_components + 1]


def reference_score(amap: FloatArray, crop: Box, image_size: tuple[int, int]) -> float:
    """Maximum inside a crop of the map resized to the image (bicubic), in [0, 1].

    The reference does not clip: bicubic overshoot may lift its scores a little above 1.
    """
    resized = Image.fromarray(np.asarray(amap, np.float32)).resize(
        (image_size[1], image_size[0]), Image.Resampling.BICUBIC
    )
    return float(np.clip(np.asarray(resized.crop(crop)).max(), 0.0, 1.0))


def _square(
    box: tuple[int, int, int, int], height: int, width: int, config: CropConfig
) -> tuple[int, int, int, int]:
    x, y, w, h = box
    longer = max(height, width)
    half = max(int(max(w, h) * config.margin), int(longer * config.min_half_side))
    half = min(half, int(longer * MAX_HALF_SIDE))
    x0, x1 = _shifted((2 * x + w) // 2, half, width)
    y0, y1 = _shifted((2 * y + h) // 2, half, height)
    return x0, y0, x1, y1


def _shifted(centre: int, half: int, length: int) -> tuple[int, int]:
    """[centre - half, centre + half), moved once: a square too large overhangs on one side."""
    if centre - half < 0:
        return 0, 2 * half
    if centre + half > length:
        return length - 2 * half, length
    return centre - half, centre + half


def _merge(squares: list[tuple[int, int, int, int]], distance: int) -> list[Square]:
    """One merged square for each maximal set {squares near square i}.

    Near means nearer than `distance` or overlapping in both axes; the relation is not followed
    through third squares, and a square in two sets goes into both merged ones.
    """
    sets: list[list[tuple[int, int, int, int]]] = []
    for square in dict.fromkeys(squares):
        near = sorted(other for other in squares if _gap(square, other) < distance)
        if near and near not in sets:
            sets.append(near)
    # A square without extent is near nothing, not even itself, and stays as it is.
    lonely: list[Square] = [s for s in squares if not any(s in group for group in sets)]
    maximal = [s for s in sets if not any(s != o and set(s) <= set(o) for o in sets)]
    return lonely + [_joined(group) for group in maximal]


def _gap(first: Square, second: Square) -> float:
    """Distance of two squares; -1 where they overlap in both axes."""
    apart = [
        abs((first[i] + first[i + 2]) / 2 - (second[i] + second[i + 2]) / 2)
        - ((first[i + 2] - first[i]) + (second[i + 2] - second[i])) / 2
        for i in (0, 1)
    ]
    if max(apart) < 0:
        return -1.0
    return math.sqrt(max(apart[0], 0.0) ** 2 + max(apart[1], 0.0) ** 2)


def _joined(group: list[tuple[int, int, int, int]]) -> Square:
    """Union of the squares in order, made square again, about its centre, after each."""
    x0, y0, x1, y1 = map(float, group[0])
    for other in group[1:]:
        x0, y0 = min(x0, other[0]), min(y0, other[1])
        x1, y1 = max(x1, other[2]), max(y1, other[3])
        widen = ((y1 - y0) - (x1 - x0)) / 2
        if widen > 0:
            x0, x1 = x0 - widen, x1 + widen
        else:
            y0, y1 = y0 + widen, y1 - widen
    return x0, y0, x1, y1
