"""From a mask to regions: which boxes are cut out of an image.

Source: AnomalyNCD's `crop_sub_image_mask` and `merge_crop_boxes` in `models/modules/_MEBin.py`;
step for step in ``research/published/regions.py``. Ours differ:

* a crop never leaves the image: where the square is larger than the image's shorter side, the
  crop is the rectangle that fits, squashed to a square; the reference pads with black;
* crops are merged until none are near each other, and a merged crop is the square around its
  regions; the reference merges once, around the squares, so its crops may still overlap;
* a crop is not enlarged beyond `max_enlargement`: a region that fills a few pixels is seen at its
  scale and in its surroundings; the reference enlarges a fifth of the image to the whole window.
  Regions are merged by their *close* crops, which know no such limit, and a region's score is the
  maximum inside its close crop;
* regions are ranked by their score and cut off at `max_regions`; the reference keeps the largest
  crops, one more than it estimated;
* a whole non-square image is squashed; the reference's window sees its top left part only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from protoanomalyncd.config import CropConfig
from protoanomalyncd.core.errors import AnomalyMapError, ImageError
from protoanomalyncd.core.records import Box, FloatArray, MaskArray, Region

__all__ = ["cells", "close_crop", "propose_regions"]

MAX_HALF_SIDE = 0.5
"""Largest half side of a crop, as a share of the image's longer side (AnomalyNCD's)."""
MERGE_DISTANCE = 0.01
"""Crops nearer than this share of the image's longer side become one (AnomalyNCD's)."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Some components of a mask: their common box [image px] and their pixels [mask px]."""

    box: Box
    pixels: int


def propose_regions(
    name: str,
    mask: MaskArray,
    amap: FloatArray,
    image_size: tuple[int, int],
    config: CropConfig,
) -> list[Region]:
    """The regions of one image, most anomalous first; never empty.

    Args:
        name: the image's `Sample.name`.
        mask: binarised map, (h, w), covering the whole image.
        amap: normalised map in [0, 1], (h', w'), covering the whole image.
        image_size: (H, W) of the original image [px].
        config: crop parameters.

    Returns:
        At most `max_regions` regions, sorted by score, then area, both from large to small. An
        empty mask gives one region, the whole image, with area 0 and `whole_image`.

    Raises:
        AnomalyMapError: mask or map is empty or not two-dimensional.
        ImageError: the image has no pixels.
    """
    if mask.ndim != 2 or amap.ndim != 2 or mask.size == 0 or amap.size == 0:
        raise AnomalyMapError(
            f"expected mask and map of shape (h, w), got {mask.shape}, {amap.shape}"
        )
    height, width = image_size
    if height < 1 or width < 1:
        raise ImageError(f"expected an image of at least one pixel, got {height} x {width}")
    rows = [
        (
            found.box,
            _crop_around(found.box, image_size, config),
            found.pixels / mask.size,
            _maximum(amap, close, image_size),
        )
        for found, close in _merged(_components(mask, image_size), image_size, config)
    ]
    if not rows:
        whole = (0, 0, width, height)
        score = float(np.clip(amap.max(), 0.0, 1.0))
        return [Region(name, 0, whole, whole, 0.0, score, whole_image=True)]
    rows.sort(key=lambda row: (-row[3], -row[2], row[0]))
    return [
        Region(name, index, box, crop, area, score)
        for index, (box, crop, area, score) in enumerate(rows[: config.max_regions])
    ]


def _components(mask: MaskArray, image_size: tuple[int, int]) -> list[_Found]:
    count, _, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=8
    )
    (h, w), (height, width) = mask.shape, image_size
    found = []
    for x, y, columns, rows, pixels in stats[1:count].tolist():
        box = (
            x * width // w,
            y * height // h,
            -(-(x + columns) * width // w),
            -(-(y + rows) * height // h),
        )
        found.append(_Found(box, pixels))
    return found


def _merged(
    found: list[_Found], image_size: tuple[int, int], config: CropConfig
) -> list[tuple[_Found, Box]]:
    """Regions and their close crops, merged until no two crops are near each other."""
    gap = MERGE_DISTANCE * max(image_size)
    while True:
        crops = [close_crop(f.box, image_size, config) for f in found]
        groups = _near_groups(np.asarray(crops, np.float64).reshape(-1, 4), gap)
        if len(groups) == len(found):
            return list(zip(found, crops, strict=True))
        found = [_union([found[i] for i in group]) for group in groups]


def _union(parts: list[_Found]) -> _Found:
    boxes = np.array([p.box for p in parts])
    x0, y0 = boxes[:, :2].min(axis=0).tolist()
    x1, y1 = boxes[:, 2:].max(axis=0).tolist()
    return _Found((x0, y0, x1, y1), sum(p.pixels for p in parts))


def _near_groups(boxes: npt.NDArray[np.float64], gap: float) -> list[list[int]]:
    """Groups of boxes that overlap or lie nearer than `gap`, directly or through others."""
    low, high = boxes[:, :2], boxes[:, 2:]
    apart = np.maximum(low[:, None] - high[None], low[None] - high[:, None])
    near = np.hypot(*np.maximum(apart, 0).transpose(2, 0, 1)) < max(gap, 1e-9)
    near &= (apart < 0).all(axis=2) | (gap > 0)
    left, groups = set(range(len(boxes))), []
    while left:
        group, fresh = set(), {min(left)}
        while fresh:
            group |= fresh
            fresh = set(np.flatnonzero(near[sorted(fresh)].any(axis=0)).tolist()) - group
        groups.append(sorted(group))
        left -= group
    return groups


def close_crop(box: Box, image_size: tuple[int, int], config: CropConfig) -> Box:
    """Square around a box by margin and half sides alone."""
    longer = max(image_size)
    half = max(config.margin * max(box[2] - box[0], box[3] - box[1]), config.min_half_side * longer)
    side = max(1, round(2 * min(half, MAX_HALF_SIDE * longer)))
    return _square(box, side, image_size)


def _crop_around(box: Box, image_size: tuple[int, int], config: CropConfig) -> Box:
    """The close crop, or a larger square around the same box where that would be enlarged more."""
    x0, y0, x1, y1 = close = close_crop(box, image_size, config)
    if config.max_enlargement is None:
        return close
    limit = 2 * MAX_HALF_SIDE * max(image_size)
    side = round(min(config.size / config.max_enlargement, limit))
    return close if side <= max(x1 - x0, y1 - y0) else _square(box, side, image_size)


def _square(box: Box, side: int, image_size: tuple[int, int]) -> Box:
    """Square of a side around a box, shifted into the image; the rectangle that fits there."""
    # The side must not cut the region itself.
    side = max(side, box[2] - box[0], box[3] - box[1])
    x0, x1 = _place(box[0], box[2], side, image_size[1])
    y0, y1 = _place(box[1], box[3], side, image_size[0])
    return x0, y0, x1, y1


def _place(start: int, stop: int, side: int, length: int) -> tuple[int, int]:
    """Interval of length `side` centred on [start, stop), shifted into [0, length)."""
    if side >= length:
        return 0, length
    first = min(max((start + stop - side) // 2, 0), length - side)
    return first, first + side


def cells(box: Box, shape: tuple[int, ...], image_size: tuple[int, int]) -> tuple[slice, slice]:
    """Cells of a map that a box of the image [px] touches."""
    (h, w), (height, width) = shape, image_size
    rows = slice(max(box[1], 0) * h // height, -(-min(box[3], height) * h // height))
    columns = slice(max(box[0], 0) * w // width, -(-min(box[2], width) * w // width))
    return rows, columns


def _maximum(amap: FloatArray, box: Box, image_size: tuple[int, int]) -> float:
    """Maximum of the map inside a box of the image, in [0, 1]."""
    return float(np.clip(amap[cells(box, amap.shape, image_size)].max(), 0.0, 1.0))
