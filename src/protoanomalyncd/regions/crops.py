"""Anomaly-centred crops: from a mask to regions, from a region to what the network sees.

Source: AnomalyNCD's `crop_sub_image_mask` and `merge_crop_boxes` in `models/modules/_MEBin.py`.
Its boxes are in `reference_crops`; here are the default ones (ours). They differ:

* a crop never leaves the image: where the square is larger than the image's shorter side, the
  crop is the rectangle that fits, squashed to a square (``overhang="squash"``), or the square is
  filled up by reflection (``overhang="reflect"``); the reference pads with black;
* crops are merged until none are near each other, and a merged crop is the square around its
  regions; the reference merges once, around the squares, so its crops may still overlap;
* regions are ranked by their score and cut off at `max_regions`; the reference keeps the largest
  crops, one more than it estimated;
* a whole non-square image is squashed; the reference's window sees its top left part only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from protoanomalyncd.config import CropConfig
from protoanomalyncd.errors import AnomalyMapError, ImageError
from protoanomalyncd.regions.reference_crops import Square, reference_boxes, reference_score
from protoanomalyncd.structures import Box, FloatArray, ImageArray, MaskArray, Region

__all__ = ["Crop", "cut", "propose_regions"]

ByteArray: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """What is cut out for one region; all three cover the same piece of the image.

    Args:
        image: RGB, uint8, (S, S, 3).
        mask: True = anomaly, (S, S).
        amap: normalised anomaly map, float32 in [0, 1], (S, S).
        on_object: True = object, (S, S); None = everything is object.
    """

    image: ImageArray
    mask: MaskArray
    amap: FloatArray
    on_object: MaskArray | None = None


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
    *,
    n_components: int | None = None,
) -> list[Region]:
    """The regions of one image, most anomalous first; never empty.

    Args:
        name: the image's `Sample.name`.
        mask: binarised map, (h, w), covering the whole image.
        amap: normalised map in [0, 1], (h', w'), covering the whole image.
        image_size: (H, W) of the original image [px].
        config: crop parameters.
        n_components: `Binarisation.n_components`, by which the ``reference`` mode limits the
            number of crops; None = no such limit. Not used in ``default`` mode.

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
    if config.mode == "reference":
        rows = _reference_rows(mask, amap, image_size, config, n_components)
    else:
        rows = [
            (found.box, crop, found.pixels / mask.size, _maximum(amap, crop, image_size))
            for found, crop in _merged(_components(mask, image_size), image_size, config)
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


def cut(
    image: ImageArray,
    mask: MaskArray,
    amap: FloatArray,
    region: Region,
    config: CropConfig,
    on_object: MaskArray | None = None,
) -> Crop:
    """Cut a region out of image, masks and map, and resize all to `config.size`.

    The image is resized with an anti-aliasing filter. A pixel of the mask is set where the mask
    is set at its centre, or where the centre of a set mask pixel falls into it: thin defects
    survive shrinking. What lies outside the image is reflected (``reference``: black).

    Args:
        image: RGB, uint8, (H, W, 3).
        mask: binarised map, (h, w), covering the whole image.
        amap: normalised map in [0, 1], (h', w'), covering the whole image.
        region: the region, from `propose_regions`.
        config: crop parameters.
        on_object: object mask, (h", w"), covering the whole image; None = everything is object.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = region.crop_box
    size, inside = config.size, (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise ImageError(
            f"{region.image}: expected a crop that meets the image of {width} x {height} px, "
            f"got {region.crop_box}"
        )
    target = (size, size)
    if config.mode == "reference" and region.whole_image:
        # The reference resizes the shorter side and looks at the top left: the rest is lost.
        inside = (0, 0, min(height, width), min(height, width))
        columns = rows = (0, size)
    else:
        columns = _span(inside[0] - x0, inside[2] - x0, x1 - x0, size)
        rows = _span(inside[1] - y0, inside[3] - y0, y1 - y0, size)
        target = (rows[1] - rows[0], columns[1] - columns[0])
    original = (height, width)
    parts: tuple[npt.NDArray[np.generic], ...] = (
        _resize(Image.fromarray(image), inside, original, target),
        _sample_mask(mask, inside, original, target),
        _resize(Image.fromarray(np.asarray(amap, np.float32)), inside, original, target),
    )
    if on_object is not None:
        parts = (*parts, _sample_mask(on_object, inside, original, target))
    cut_image, cut_mask, cut_map, *cut_object = (
        _fill(part, rows, columns, size, black=config.mode == "reference") for part in parts
    )
    return Crop(
        np.asarray(cut_image, np.uint8),
        np.asarray(cut_mask, np.bool_),
        np.asarray(np.clip(cut_map, 0.0, 1.0), np.float32),
        np.asarray(cut_object[0], np.bool_) if cut_object else None,
    )


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
    """Regions and their crops, merged until no two crops are near each other."""
    gap = config.merge_distance * max(image_size)
    while True:
        crops = [_crop_around(f.box, image_size, config) for f in found]
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


def _crop_around(box: Box, image_size: tuple[int, int], config: CropConfig) -> Box:
    """Square around a box, shifted into the image; see `overhang` where it does not fit."""
    height, width = image_size
    longer = max(image_size)
    half = max(config.margin * max(box[2] - box[0], box[3] - box[1]), config.min_half_side * longer)
    side = max(1, round(2 * min(half, config.max_half_side * longer)))
    # The limit must not cut the region itself.
    side = max(side, box[2] - box[0], box[3] - box[1])
    x0, x1 = _place(box[0], box[2], side, width, config.overhang == "reflect")
    y0, y1 = _place(box[1], box[3], side, height, config.overhang == "reflect")
    return x0, y0, x1, y1


def _place(start: int, stop: int, side: int, length: int, may_leave: bool) -> tuple[int, int]:
    """Interval of length `side` centred on [start, stop), shifted into [0, length)."""
    if side >= length:
        first = (length - side) // 2
        return (first, first + side) if may_leave else (0, length)
    first = min(max((start + stop - side) // 2, 0), length - side)
    return first, first + side


def _maximum(amap: FloatArray, box: Box, image_size: tuple[int, int]) -> float:
    """Maximum of the map inside a box of the image, in [0, 1]."""
    (h, w), (height, width) = amap.shape, image_size
    rows = slice(max(box[1], 0) * h // height, -(-min(box[3], height) * h // height))
    columns = slice(max(box[0], 0) * w // width, -(-min(box[2], width) * w // width))
    return float(np.clip(amap[rows, columns].max(), 0.0, 1.0))


def _reference_rows(
    mask: MaskArray,
    amap: FloatArray,
    image_size: tuple[int, int],
    config: CropConfig,
    n_components: int | None,
) -> list[tuple[Box, Box, float, float]]:
    """(box, crop box, area, score) of every crop that the reference would keep."""
    height, width = image_size
    sampled = cv2.resize(
        np.ascontiguousarray(mask).view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )
    rows = []
    for square in reference_boxes(np.asarray(sampled, np.uint8), config, n_components):
        crop = _rounded(square)
        if crop[0] == crop[2] or crop[1] == crop[3]:
            continue  # an image of few pixels; the reference fails on it
        x0, y0 = max(crop[0], 0), max(crop[1], 0)
        part = sampled[y0 : min(crop[3], height), x0 : min(crop[2], width)]
        x, y, w, h = cv2.boundingRect(np.ascontiguousarray(part))
        box = (x0 + x, y0 + y, x0 + x + w, y0 + y + h)
        area = float(np.count_nonzero(part)) / sampled.size
        rows.append((box, crop, area, reference_score(amap, crop, image_size)))
    return rows


def _rounded(square: Square) -> Box:
    # Python's round, half to even, as `PIL.Image.crop` does.
    x0, y0, x1, y1 = (round(v) for v in square)
    return x0, y0, x1, y1


def _span(start: int, stop: int, length: int, size: int) -> tuple[int, int]:
    """[start, stop) of `length` px, in pixels of an output of `size`; at least one pixel."""
    first = min(round(start * size / length), size - 1)
    return first, max(round(stop * size / length), first + 1)


def _resize(
    picture: Image.Image, box: Box, image_size: tuple[int, int], target: tuple[int, int]
) -> npt.NDArray[np.generic]:
    """Part `box` [image px] of a picture that covers the image, resized to (rows, columns)."""
    fx, fy = picture.width / image_size[1], picture.height / image_size[0]
    part = (box[0] * fx, box[1] * fy, box[2] * fx, box[3] * fy)
    resized = picture.resize((target[1], target[0]), Image.Resampling.BILINEAR, box=part)
    return np.asarray(resized)


def _sample_mask(
    mask: MaskArray, box: Box, image_size: tuple[int, int], target: tuple[int, int]
) -> MaskArray:
    """Part `box` [image px] of a mask, at (rows, columns); thin structures survive."""
    ys, back_y = _centres(box[1], box[3], image_size[0], mask.shape[0], target[0])
    xs, back_x = _centres(box[0], box[2], image_size[1], mask.shape[1], target[1])
    sampled = mask[np.ix_(ys, xs)]
    set_y, set_x = np.nonzero(mask)
    set_y, set_x = back_y[set_y], back_x[set_x]
    inside = (set_y >= 0) & (set_x >= 0)
    sampled[set_y[inside], set_x[inside]] = True
    return np.asarray(sampled, np.bool_)


def _centres(
    start: int, stop: int, length: int, cells: int, size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Mask cell under each output pixel's centre, and output pixel under each cell's (-1: none).

    Integer arithmetic: centres on a cell's edge go to the same side on every machine.
    """
    outputs = np.arange(size)
    forward = ((2 * outputs + 1) * (stop - start) + 2 * size * start) * cells // (2 * size * length)
    indices = np.arange(cells)
    place = (2 * indices + 1) * length - 2 * cells * start  # 2 * cells * (centre - start)
    backward = place * size // (2 * cells * (stop - start))
    # A cell larger than the crop may have its centre outside although it is seen: forward has it.
    backward[(backward < 0) | (backward >= size)] = -1
    return forward, backward


def _fill(
    part: npt.NDArray[np.generic],
    rows: tuple[int, int],
    columns: tuple[int, int],
    size: int,
    *,
    black: bool,
) -> npt.NDArray[np.generic]:
    """`part` in its place in a square of `size`, the rest reflected or zero."""
    if part.shape[:2] == (size, size):
        return part
    if black:
        padded = np.zeros((size, size, *part.shape[2:]), part.dtype)
        padded[rows[0] : rows[1], columns[0] : columns[1]] = part
        return padded
    ys = _reflected(np.arange(size) - rows[0], rows[1] - rows[0])
    xs = _reflected(np.arange(size) - columns[0], columns[1] - columns[0])
    return part[np.ix_(ys, xs)]


def _reflected(index: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Indices folded into [0, length) by mirrors at the outer pixels' centres."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    folded = index % period
    return np.minimum(folded, period - folded)
