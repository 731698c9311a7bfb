"""From one image and its map to its crops: binarise, propose, cut, describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.records import FloatArray, ImageArray, MapRange, MaskArray, Region
from protoanomalyncd.regions.crops import Crop, cut
from protoanomalyncd.regions.descriptors import describe
from protoanomalyncd.regions.mebin import binarise
from protoanomalyncd.regions.proposals import propose_regions

__all__ = ["CroppedRegion", "crop_labelled", "crop_unlabelled"]


@dataclass(frozen=True, slots=True, eq=False)
class CroppedRegion:
    """A region with its crop.

    Args:
        region: where it is.
        crop: image, mask and map of the window.
        descriptors: what the crop loses (size, shape, contrast), by name.
    """

    region: Region
    crop: Crop
    descriptors: Mapping[str, float]


def crop_unlabelled(
    name: str,
    image: ImageArray,
    amap: FloatArray,
    map_range: MapRange,
    mebin: MEBinConfig,
    crops: CropConfig,
    on_object: MaskArray | None = None,
) -> list[CroppedRegion]:
    """All regions of an image; the whole image where nothing stands out.

    Args:
        name: of the image.
        image: (H, W, 3).
        amap: raw anomaly map (h, w).
        map_range: of the data set.
        mebin: binarisation.
        crops: crops.
        on_object: object mask (h', w'); None = everything is object.

    Returns:
        At least one region, the most anomalous first.
    """
    normalised = map_range.normalise(amap)
    found = binarise(amap, map_range, mebin)
    return _cut_all(name, image, found.mask, normalised, crops, on_object)


def crop_labelled(
    name: str, image: ImageArray, mask: MaskArray, crops: CropConfig
) -> CroppedRegion:
    """The largest region of an image whose mask is known; the mask stands for the map.

    Args:
        name: of the image.
        image: (H, W, 3).
        mask: (H, W), not empty.
        crops: crops.
    """
    found = _cut_all(name, image, mask, mask.astype(np.float32), crops)
    return max(found, key=lambda item: (item.region.area, -item.region.index))


def _cut_all(
    name: str,
    image: ImageArray,
    mask: MaskArray,
    normalised: FloatArray,
    crops: CropConfig,
    on_object: MaskArray | None = None,
) -> list[CroppedRegion]:
    size = (image.shape[0], image.shape[1])
    regions = propose_regions(name, mask, normalised, size, crops)
    return [
        CroppedRegion(
            region,
            cut(image, mask, normalised, region, crops, on_object),
            describe(image, mask, region, on_object),
        )
        for region in regions
    ]
