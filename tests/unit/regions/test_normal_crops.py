"""regions/normal_crops.py: the ground of a set, under the guidance of regions found elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from protoanomalyncd.config import CropConfig
from protoanomalyncd.core.errors import ImageError
from protoanomalyncd.core.records import ImageArray
from protoanomalyncd.regions.normal_crops import NORMAL_CROPS, BorrowedGuidance, Place, normal_crops

SIZE = 64
CONFIG = CropConfig(size=SIZE)


def lent(number: int) -> BorrowedGuidance:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[number : number + 5] = True
    return BorrowedGuidance((40, 30), mask, mask.astype(np.float32) / 2)


def place(key: str, level: int, height: int = 80, width: int = 100) -> Place:
    return Place(key, lambda: np.full((height, width, 3), level, np.uint8))


def test_copies_count_once_and_order_is_of_no_account() -> None:
    places = [place("a", 10), place("b", 60), place("a", 10)]
    first = list(normal_crops(places, 7, lent, CONFIG, seed=1))
    second = list(normal_crops(places[::-1], 7, lent, CONFIG, seed=1))
    other = list(normal_crops(places, 7, lent, CONFIG, seed=2))
    assert len(first) == NORMAL_CROPS
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.mask, b.mask)
    assert any(not np.array_equal(a.mask, b.mask) for a, b in zip(first, other, strict=True))
    assert sum(int(c.image[0, 0, 0]) == 10 for c in first) == NORMAL_CROPS // 2


def test_crops_carry_the_guidance_they_were_lent_and_are_as_large() -> None:
    def read() -> ImageArray:
        return np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (80, 1, 3))

    crops = list(normal_crops([Place("a", read)], 3, lent, CONFIG, seed=0))
    for crop in crops:
        assert crop.image.shape == (SIZE, SIZE, 3)
        assert any(np.array_equal(crop.mask, lent(k).mask) for k in range(3))
        # 40 of 100 columns, stretched to 64 px
        assert int(crop.image[0, -1, 0]) - int(crop.image[0, 0, 0]) in range(36, 41)
    assert len({int(c.image[0, 0, 0]) for c in crops}) > 10


def test_small_images_are_taken_whole() -> None:
    (crop, *_) = normal_crops([place("a", 7, height=12, width=10)], 1, lent, CONFIG, seed=0)
    assert crop.image.shape == (SIZE, SIZE, 3)
    assert (crop.image == 7).all()


def test_in_unlabelled_images_the_quiet_place_is_taken() -> None:
    picture = np.zeros((80, 160, 3), np.uint8)
    picture[:, 80:] = 200
    scores = np.zeros((8, 16), np.float32)
    scores[:, 8:] = 1.0
    quiet = Place("a", lambda: picture, lambda: scores)
    levels = [float(c.image.mean()) for c in normal_crops([quiet], 1, lent, CONFIG, seed=0)]
    assert np.mean(levels) < 20


@pytest.mark.parametrize(("places", "n_lent"), [([], 3), ([place("a", 1)], 0)])
def test_without_images_or_regions_there_is_nothing(places: list[Place], n_lent: int) -> None:
    assert list(normal_crops(places, n_lent, lent, CONFIG, seed=0)) == []


def test_unreadable_images_are_left_out() -> None:
    def broken() -> ImageArray:
        raise ImageError("expected an image, got nonsense")

    read: Callable[[], ImageArray] = broken
    assert list(normal_crops([Place("a", read)], 2, lent, CONFIG, seed=0)) == []
    both = list(normal_crops([Place("a", read), place("b", 5)], 2, lent, CONFIG, seed=0))
    assert len(both) == NORMAL_CROPS // 2
