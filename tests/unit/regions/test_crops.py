"""Crops: geometry on images of every shape, merging, and cutting image, mask and map together."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from protoanomalyncd.config import CropConfig
from protoanomalyncd.core.errors import AnomalyMapError, ImageError
from protoanomalyncd.core.records import Region
from protoanomalyncd.regions import cut, propose_regions

SIZES = [(256, 256), (100, 650), (650, 100), (48, 64), (7, 5), (1, 1), (1500, 1100)]
DEFAULT = CropConfig()
CLOSE = CropConfig(max_enlargement=None)


def proposed(mask: np.ndarray, size: tuple[int, int], config: CropConfig = DEFAULT) -> list[Region]:
    return propose_regions("a/b.png", mask, mask.astype(np.float32), size, config)


def random_mask(rng: np.random.Generator, side: int = 96) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    for _ in range(rng.integers(1, 7)):
        y, x, h, w = *rng.integers(0, side, 2), *rng.integers(1, side // 4, 2)
        mask[y : y + h, x : x + w] = True
    return mask


def squares_of(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((200, 200), bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("size", SIZES)
def test_crops_hold_their_regions_and_lie_inside(
    rng: np.random.Generator, size: tuple[int, int]
) -> None:
    height, width = size
    config = CropConfig(max_regions=100)
    for _ in range(40):
        mask = random_mask(rng)
        regions = proposed(mask, size, config)
        for region in regions:
            (x0, y0, x1, y1), (a, b, c, d) = region.box, region.crop_box
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            assert a <= x0 < x1 <= c
            assert b <= y0 < y1 <= d
            inside = a >= 0 and b >= 0 and c <= width and d <= height
            square = c - a == d - b
            fills = c - a == width or d - b == height
            assert inside
            assert square or fills
            assert 0 < region.score <= 1
            assert not region.whole_image
        assert sum(r.area for r in regions) == pytest.approx(mask.mean())
        assert [r.index for r in regions] == list(range(len(regions)))


def test_crops_of_one_image_are_apart_after_merging(rng: np.random.Generator) -> None:
    counts = set()
    for _ in range(60):
        regions = proposed(
            random_mask(rng), (300, 400), CropConfig(max_regions=100, max_enlargement=None)
        )
        counts.add(len(regions))
        for i, first in enumerate(regions):
            for second in regions[:i]:
                a, b = np.array(first.crop_box), np.array(second.crop_box)
                gap = np.maximum(np.maximum(a[:2] - b[2:], b[:2] - a[2:]), 0)
                assert np.hypot(*gap) >= 0.01 * 400
    assert len(counts) >= 3


def test_default_square_is_centred_and_scaled_as_stated() -> None:
    (region,) = proposed(squares_of((80, 90, 140, 110)), (200, 200), CLOSE)
    assert region.box == (80, 90, 140, 110)
    assert region.crop_box == (77, 67, 143, 133)  # 2 x 0.55 x 60 = 66
    (small,) = proposed(squares_of((100, 100, 104, 102)), (200, 200), CLOSE)
    assert small.crop_box == (82, 81, 122, 121)  # 2 x 0.1 x 200 = 40


@pytest.mark.parametrize(
    ("box", "crop"),
    [
        ((0, 0, 4, 4), (0, 0, 40, 40)),
        ((196, 196, 200, 200), (160, 160, 200, 200)),
        ((0, 90, 4, 94), (0, 72, 40, 112)),
    ],
)
def test_region_at_the_border_is_shifted_into_the_image(box: tuple, crop: tuple) -> None:
    (region,) = proposed(squares_of(box), (200, 200), CLOSE)
    assert (region.box, region.crop_box) == (box, crop)


def test_small_region_is_enlarged_no_further_than_stated() -> None:
    box = (500, 300, 510, 304)
    mask = np.zeros((1000, 1000), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    sides = {}
    for most in (None, 0.5, 1.0, 2.0, 4.0):
        (region,) = proposed(mask, (1000, 1000), CropConfig(max_enlargement=most))
        a, b, c, d = region.crop_box
        assert c - a == d - b
        assert (region.box, (a + c) // 2, (b + d) // 2) == (box, 505, 302)
        sides[most] = c - a
    # 2 x 0.1 x 1000 = 200 where 256 / 4 and 256 / 2 ask for less
    assert sides == {None: 200, 0.5: 512, 1.0: 256, 2.0: 200, 4.0: 200}
    (region,) = proposed(mask, (1000, 1000), CropConfig(max_enlargement=0.1))
    assert region.crop_box == (0, 0, 1000, 1000)  # twice MAX_HALF_SIDE


def test_enlarged_crops_overlap_and_each_is_guided_to_its_own_region(
    rng: np.random.Generator,
) -> None:
    mask = squares_of((40, 40, 50, 50), (150, 150, 170, 170))
    amap = np.maximum(mask, 0.3).astype(np.float32)
    picture = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    config = CropConfig(max_enlargement=1.5)
    regions = propose_regions("a.png", mask, amap, (200, 200), config)
    assert [r.box for r in regions] == [(150, 150, 170, 170), (40, 40, 50, 50)]
    assert [r.crop_box for r in regions] == [(29, 29, 200, 200), (0, 0, 171, 171)]
    for region, own in zip(regions, (20 * 20, 10 * 10), strict=True):
        crop = cut(picture, mask, amap, region, config)
        scale = (256 / 171) ** 2
        assert crop.mask.sum() == pytest.approx(own * scale, rel=0.15)
        # the close crop, 40 px wide, keeps its map; what lies around it does not guide
        assert (crop.amap > 0).sum() == pytest.approx(40 * 40 * scale, rel=0.15)
        assert crop.amap.max() == pytest.approx(1.0)
    whole = propose_regions("a.png", np.zeros_like(mask), amap, (200, 200), config)
    assert cut(picture, mask, amap, whole[0], config).amap.min() > 0


def test_chain_of_near_regions_becomes_one_and_a_far_one_stays() -> None:
    near = [(20, 20, 30, 30), (58, 20, 68, 30), (96, 20, 106, 30)]  # 1st and 3rd do not touch
    regions = proposed(squares_of(*near, (180, 180, 190, 190)), (200, 200))
    assert sorted(r.box for r in regions) == [(20, 20, 106, 30), (180, 180, 190, 190)]
    assert max(r.area for r in regions) == pytest.approx(300 / 200**2)


def test_long_crack_on_an_elongated_image() -> None:
    mask = np.zeros((96, 96), bool)
    mask[40:44, 10:80] = True
    (squashed,) = proposed(mask, (100, 650))
    assert squashed.crop_box[1::2] == (0, 100)
    assert squashed.crop_box[2] - squashed.crop_box[0] == 522  # box of 475 px x 1.1


def test_most_anomalous_first_and_at_most_max_regions() -> None:
    boxes = [(5, 5, 9, 9), (100, 100, 104, 104), (180, 10, 188, 18), (10, 180, 14, 184)]
    mask, amap = squares_of(*boxes), np.zeros((50, 50), np.float32)
    for (x0, y0, _, _), value in zip(boxes, (0.3, 0.9, 0.5, 0.5), strict=True):
        amap[y0 // 4, x0 // 4] = value
    regions = propose_regions("a.png", mask, amap, (200, 200), CropConfig(max_regions=3))
    assert [r.box for r in regions] == [boxes[1], boxes[2], boxes[3]]  # larger before smaller
    assert [r.score for r in regions] == pytest.approx([0.9, 0.5, 0.5])


def test_nothing_found_gives_the_whole_image() -> None:
    amap = np.full((8, 8), 0.25, np.float32)
    (region,) = propose_regions("a.png", np.zeros((64, 64), bool), amap, (100, 650), DEFAULT)
    assert region == Region("a.png", 0, (0, 0, 650, 100), (0, 0, 650, 100), 0.0, 0.25, True)


def test_unusable_input_is_named() -> None:
    with pytest.raises(AnomalyMapError, match=r"\(h, w\)"):
        propose_regions("a", np.zeros((4, 4, 1), bool), np.zeros((4, 4)), (9, 9), DEFAULT)
    with pytest.raises(ImageError, match="0 x 9"):
        propose_regions("a", np.zeros((4, 4), bool), np.zeros((4, 4)), (0, 9), DEFAULT)
    outside = Region("a", 0, (0, 0, 1, 1), (20, 20, 30, 30), 0.1, 0.1)
    with pytest.raises(ImageError, match="meets the image"):
        cut(np.zeros((9, 9, 3), np.uint8), np.ones((4, 4), bool), np.ones((4, 4)), outside, DEFAULT)


@pytest.mark.parametrize("size", SIZES)
def test_every_region_can_be_cut_and_keeps_its_mask(
    rng: np.random.Generator, size: tuple[int, int]
) -> None:
    config = CropConfig(size=64)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for _ in range(6):
        mask = random_mask(rng, 128)
        for region in proposed(mask, size, config):
            crop = cut(image, mask, mask.astype(np.float32), region, config)
            assert crop.image.shape == (64, 64, 3)
            assert (crop.mask.shape, crop.amap.shape) == ((64, 64), (64, 64))
            assert (crop.image.dtype, crop.mask.dtype, crop.amap.dtype) == (
                np.uint8,
                np.bool_,
                np.float32,
            )
            assert crop.mask.any() or region.whole_image
            assert 0 <= crop.amap.min() <= crop.amap.max() <= 1


@pytest.mark.parametrize("y", [3, 500, 999])
@pytest.mark.parametrize("x", [0, 421, 998])
def test_single_mask_pixel_survives_shrinking_to_an_eighth(y: int, x: int) -> None:
    mask = np.zeros((1000, 1000), bool)
    mask[y, x] = True
    whole = Region("a", 0, (x // 2, y // 2, x // 2 + 1, y // 2 + 1), (0, 0, 500, 500), 1e-6, 1.0)
    crop = cut(
        np.zeros((500, 500, 3), np.uint8), mask, np.ones((9, 9)), whole, CropConfig(size=125)
    )
    assert np.argwhere(crop.mask).tolist() == [[y // 8, x // 8]]


def test_image_mask_and_map_stay_aligned(rng: np.random.Generator) -> None:
    """The same picture as image, mask and map, each at its own resolution, is cut alike."""
    field = cv2.GaussianBlur(rng.standard_normal((400, 600)), (0, 0), 30)
    field = (field - field.min()) / np.ptp(field)
    image = np.repeat((255 * field).astype(np.uint8)[..., None], 3, axis=2)
    amap = cv2.resize(field, (150, 100), interpolation=cv2.INTER_AREA).astype(np.float32)
    mask = cv2.resize(field, (300, 300), interpolation=cv2.INTER_AREA) > 0.6
    for box in ((40, 30, 240, 230), (0, 0, 600, 400), (-60, -150, 540, 450), (300, 150, 700, 550)):
        region = Region("a", 0, (0, 0, 1, 1), box, 0.1, 1.0)
        crop = cut(image, mask, amap, region, CLOSE)
        grey = crop.image[..., 0] / 255
        assert np.abs(grey - crop.amap).max() < 0.05
        assert ((grey > 0.6) == crop.mask).mean() > 0.98


def test_whole_image_is_squashed() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 150:] = 255
    mask, amap = np.zeros((10, 10), bool), np.zeros((10, 10), np.float32)
    (region,) = proposed(mask, (100, 300))
    squashed = cut(image, mask, amap, region, CropConfig(size=100)).image
    assert (squashed[:, :49] == 0).all()
    assert (squashed[:, 51:] == 255).all()


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    region = Region("a", 0, (0, 0, 1, 1), (0, 0, 512, 512), 0.1, 1.0)
    shrunk = cut(stripes, np.ones((4, 4), bool), np.ones((4, 4)), region, CropConfig(size=64)).image
    assert np.abs(shrunk.astype(int) - 127).max() <= 6


@pytest.mark.parametrize("size", [(90, 90), (60, 130)])
def test_the_object_mask_is_cut_with_the_region(
    rng: np.random.Generator, size: tuple[int, int]
) -> None:
    config = CropConfig(size=64)
    mask, image = random_mask(rng), np.zeros((*size, 3), np.uint8)
    for region in proposed(mask, size, config):
        crop = cut(image, mask, mask.astype(np.float32), region, config, mask)
        assert crop.on_object is not None
        np.testing.assert_array_equal(crop.on_object, crop.mask, strict=True)
        smaller = cut(image, mask, mask.astype(np.float32), region, config, mask[:1, :1] | True)
        inside = cut(image + 255, mask, mask.astype(np.float32), region, config).image[..., 0] > 0
        assert smaller.on_object is not None
        np.testing.assert_array_equal(smaller.on_object, inside)
        assert cut(image, mask, mask.astype(np.float32), region, config).on_object is None


def test_what_lies_outside_the_image_is_left_out(rng: np.random.Generator) -> None:
    image = rng.integers(1, 256, (64, 64, 3), dtype=np.uint8)
    mask, amap = np.ones((64, 64), bool), np.ones((64, 64), np.float32)
    region = Region("a", 0, (0, 0, 64, 64), (-32, 0, 96, 128), 1.0, 1.0)
    found = cut(image, mask, amap, region, CropConfig(size=64))
    np.testing.assert_array_equal(found.image, image)
