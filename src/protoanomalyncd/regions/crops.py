"""From a region to what the network sees: image, mask and map of its crop, at one size.

The crop's box is `proposals`' work. What guides the class token is what the *close* crop of a
region holds: where the box is larger (`max_enlargement`), mask and map are zero around it, so that
crops which overlap are guided to their own regions. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from protoanomalyncd.config import CropConfig
from protoanomalyncd.core.errors import ImageError
from protoanomalyncd.core.records import Box, FloatArray, ImageArray, MaskArray, Region
from protoanomalyncd.regions.proposals import cells, close_crop

__all__ = ["Crop", "cut"]


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
    if config.mode == "default" and config.max_enlargement and not region.whole_image:
        close = close_crop(region.box, original, config)
        mask, amap = (_only_inside(values, close, original) for values in (mask, amap))
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


def _only_inside(
    values: npt.NDArray[Any], box: Box, image_size: tuple[int, int]
) -> npt.NDArray[Any]:
    """A map (h, w) that covers the image, zero where no part of a cell lies in the box."""
    rows, columns = cells(box, values.shape, image_size)
    out = np.zeros_like(values)
    out[rows, columns] = values[rows, columns]
    return out


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
