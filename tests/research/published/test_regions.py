"""regions.py: AnomalyNCD's crops, black outside the image; boxes have golden values."""

from __future__ import annotations

import numpy as np
import pytest

from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.records import MapRange, Region
from protoanomalyncd.regions.collect import crop_labelled, crop_unlabelled
from research.published.regions import PublishedCropper, reference_cut, reference_regions
from tests.unit.regions.test_crops import SIZES, random_mask


def test_outside_is_black(rng: np.random.Generator) -> None:
    image = rng.integers(1, 256, (64, 64, 3), dtype=np.uint8)
    mask, amap = np.ones((64, 64), bool), np.ones((64, 64), np.float32)
    region = Region("a", 0, (0, 0, 64, 64), (-32, 0, 96, 128), 1.0, 1.0)
    black = reference_cut(image, mask, amap, region, 128)
    np.testing.assert_array_equal(black.image[:64, 32:96], image)
    for part in (black.image, black.mask, black.amap):
        assert not part[64:].any()
        assert not part[:, :32].any()


def test_a_whole_image_is_cut_off() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 150:] = 255
    mask, amap = np.zeros((10, 10), bool), np.zeros((10, 10), np.float32)
    (region,) = reference_regions("a", mask, amap, (100, 300), CropConfig())
    assert region == Region("a", 0, (0, 0, 300, 100), (0, 0, 300, 100), 0.0, 0.0, True)
    assert not reference_cut(image, mask, amap, region, 100).image.any()


@pytest.mark.parametrize("size", SIZES)
def test_every_region_can_be_cut_and_keeps_its_mask(
    rng: np.random.Generator, size: tuple[int, int]
) -> None:
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for _ in range(6):
        mask = random_mask(rng, 128)
        amap = mask.astype(np.float32)
        for region in reference_regions("a", mask, amap, size, CropConfig()):
            crop = reference_cut(image, mask, amap, region, 64, mask)
            assert crop.image.shape == (64, 64, 3)
            assert (crop.image.dtype, crop.mask.dtype, crop.amap.dtype) == (
                np.uint8,
                np.bool_,
                np.float32,
            )
            assert crop.mask.any() or region.whole_image
            np.testing.assert_array_equal(crop.on_object, crop.mask)


def test_without_either_it_is_the_products(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    amap, limits = rng.random((30, 40)).astype(np.float32), MapRange(0.5, 1.0)
    settings = (MEBinConfig(), CropConfig())
    ours = crop_unlabelled("a", image, amap, limits, *settings)
    found = PublishedCropper(False, False).crop("a", image, amap, limits, *settings)
    assert [item.region for item in found] == [item.region for item in ours]
    mask = random_mask(rng)
    for own in (True, False):
        cropper = PublishedCropper(own, False)
        one, two = (
            crop("a", image, mask, CropConfig()) for crop in (cropper.crop_labelled, crop_labelled)
        )
        assert one.region == two.region
        np.testing.assert_array_equal(one.crop.image, two.crop.image)
