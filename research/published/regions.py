"""From a map to crops as AnomalyNCD does it: boxes, black padding, one crop more than estimated.

Source: [ref] HUST-SLOW/AnomalyNCD, ``models/modules/_MEBin.py`` (golden tests). Binarisation and
crops can be taken from it one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.errors import ImageError
from protoanomalyncd.core.records import (
    Box,
    FloatArray,
    ImageArray,
    MapRange,
    MaskArray,
    Region,
)
from protoanomalyncd.regions import Crop, binarise, cut, describe, propose_regions
from protoanomalyncd.regions.collect import CroppedRegion
from protoanomalyncd.regions.crops import resize_part, sample_mask
from research.published.binarisation import reference_binarise
from research.published.boxes import Square, reference_boxes, reference_score

__all__ = ["PublishedCropper", "reference_cut", "reference_regions"]


def reference_regions(
    name: str,
    mask: MaskArray,
    amap: FloatArray,
    image_size: tuple[int, int],
    config: CropConfig,
    n_components: int | None = None,
) -> list[Region]:
    """The regions of one image, most anomalous first; never empty. See `propose_regions`.

    Args:
        name: of the image.
        mask: binarised map (h, w).
        amap: normalised map in [0, 1], (h', w').
        image_size: (H, W) of the original image [px].
        config: margin, smallest half side, most regions.
        n_components: `Binarisation.n_components`; at most one crop more is kept. None = all.
    """
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
    if not rows:  # the whole image
        return propose_regions(name, np.zeros_like(mask), amap, image_size, config)
    rows.sort(key=lambda row: (-row[3], -row[2], row[0]))
    return [
        Region(name, index, box, crop, area, score)
        for index, (box, crop, area, score) in enumerate(rows[: config.max_regions])
    ]


def reference_cut(
    image: ImageArray,
    mask: MaskArray,
    amap: FloatArray,
    region: Region,
    size: int,
    on_object: MaskArray | None = None,
) -> Crop:
    """Cut a region out of image, mask and map; what lies outside the image is black.

    Args:
        image: RGB, uint8, (H, W, 3).
        mask: binarised map, (h, w), covering the whole image.
        amap: normalised map in [0, 1], (h', w'), covering the whole image.
        region: from `reference_regions`.
        size: side of the crop [px].
        on_object: object mask, covering the whole image; None = everything is object.
    """
    height, width = original = (image.shape[0], image.shape[1])
    x0, y0, x1, y1 = region.crop_box
    inside = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise ImageError(
            f"{region.image}: expected a crop that meets the image of {width} x {height} px, "
            f"got {region.crop_box}"
        )
    if region.whole_image:
        # The reference resizes the shorter side and looks at the top left: the rest is lost.
        inside = (0, 0, min(height, width), min(height, width))
        columns = rows = (0, size)
    else:
        columns = _span(inside[0] - x0, inside[2] - x0, x1 - x0, size)
        rows = _span(inside[1] - y0, inside[3] - y0, y1 - y0, size)
    target = (rows[1] - rows[0], columns[1] - columns[0])

    def resized(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return placed(resize_part(Image.fromarray(picture), inside, original, target))

    def sampled(values: MaskArray) -> MaskArray:
        return placed(sample_mask(values, inside, original, target))

    def placed(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        padded = np.zeros((size, size, *part.shape[2:]), part.dtype)
        padded[rows[0] : rows[1], columns[0] : columns[1]] = part
        return padded

    return Crop(
        resized(image),
        sampled(mask),
        np.clip(resized(np.asarray(amap, np.float32)), 0.0, 1.0),
        None if on_object is None else sampled(on_object),
    )


@dataclass(frozen=True)
class PublishedCropper:
    """`Steps.crop` and `Steps.crop_labelled` with AnomalyNCD's binarisation, its crops, or both.

    Args:
        mebin: its binarisation.
        crops: its crops.
    """

    mebin: bool
    crops: bool

    def crop(
        self,
        name: str,
        image: ImageArray,
        amap: FloatArray,
        map_range: MapRange,
        mebin: MEBinConfig,
        crops: CropConfig,
        on_object: MaskArray | None = None,
    ) -> list[CroppedRegion]:
        """All regions of an image; see `crop_unlabelled`."""
        found = (
            reference_binarise(amap, map_range) if self.mebin else binarise(amap, map_range, mebin)
        )
        normalised, most = map_range.normalise(amap), found.n_components
        return self._cut_all(name, image, found.mask, normalised, crops, most, on_object)

    def crop_labelled(
        self, name: str, image: ImageArray, mask: MaskArray, crops: CropConfig
    ) -> CroppedRegion:
        """The largest region of an image whose mask is known; see `crop_labelled`."""
        found = self._cut_all(name, image, mask, mask.astype(np.float32), crops)
        return max(found, key=lambda item: (item.region.area, -item.region.index))

    def _cut_all(
        self,
        name: str,
        image: ImageArray,
        mask: MaskArray,
        amap: FloatArray,
        crops: CropConfig,
        most: int | None = None,
        on_object: MaskArray | None = None,
    ) -> list[CroppedRegion]:
        size = (image.shape[0], image.shape[1])
        if self.crops:
            regions = reference_regions(name, mask, amap, size, crops, most)
            cuts = [reference_cut(image, mask, amap, r, crops.size, on_object) for r in regions]
        else:
            regions = propose_regions(name, mask, amap, size, crops)
            cuts = [cut(image, mask, amap, region, crops, on_object) for region in regions]
        return [
            CroppedRegion(region, crop, describe(image, mask, region, on_object))
            for region, crop in zip(regions, cuts, strict=True)
        ]


def _span(start: int, stop: int, length: int, size: int) -> tuple[int, int]:
    """[start, stop) of `length` px, in pixels of an output of `size`; at least one pixel."""
    first = min(round(start * size / length), size - 1)
    return first, max(round(stop * size / length), first + 1)


def _rounded(square: Square) -> Box:
    # Python's round, half to even, as `PIL.Image.crop` does.
    x0, y0, x1, y1 = (round(v) for v in square)
    return x0, y0, x1, y1
