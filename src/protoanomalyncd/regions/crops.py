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

__all__ = ["Crop", "cut", "resize_part", "sample_mask"]


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
    survive shrinking. What of a crop lies outside the image is left out.

    Args:
        image: RGB, uint8, (H, W, 3).
        mask: binarised map, (h, w), covering the whole image.
        amap: normalised map in [0, 1], (h', w'), covering the whole image.
        region: the region, from `propose_regions`.
        config: crop parameters.
        on_object: object mask, (h", w"), covering the whole image; None = everything is object.
    """
    height, width = original = (image.shape[0], image.shape[1])
    x0, y0, x1, y1 = region.crop_box
    box = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ImageError(
            f"{region.image}: expected a crop that meets the image of {width} x {height} px, "
            f"got {region.crop_box}"
        )
    if config.max_enlargement and not region.whole_image:
        close = close_crop(region.box, original, config)
        mask, amap = (_only_inside(values, close, original) for values in (mask, amap))
    target = (config.size, config.size)
    resized = resize_part(Image.fromarray(np.asarray(amap, np.float32)), box, original, target)
    return Crop(
        np.asarray(resize_part(Image.fromarray(image), box, original, target), np.uint8),
        sample_mask(mask, box, original, target),
        np.asarray(np.clip(resized, 0.0, 1.0), np.float32),
        None if on_object is None else sample_mask(on_object, box, original, target),
    )


def _only_inside(
    values: npt.NDArray[Any], box: Box, image_size: tuple[int, int]
) -> npt.NDArray[Any]:
    """A map (h, w) that covers the image, zero where no part of a cell lies in the box."""
    rows, columns = cells(box, values.shape, image_size)
    out = np.zeros_like(values)
    out[rows, columns] = values[rows, columns]
    return out


def resize_part(
    picture: Image.Image, box: Box, image_size: tuple[int, int], target: tuple[int, int]
) -> npt.NDArray[np.generic]:
    """Part `box` [image px] of a picture that covers the image, resized to (rows, columns)."""
    fx, fy = picture.width / image_size[1], picture.height / image_size[0]
    part = (box[0] * fx, box[1] * fy, box[2] * fx, box[3] * fy)
    resized = picture.resize((target[1], target[0]), Image.Resampling.BILINEAR, box=part)
    return np.asarray(resized)


def sample_mask(
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
