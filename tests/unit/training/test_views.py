"""views.py: one view per key, whatever the order; picture and map move together."""

from __future__ import annotations

import numpy as np
import pytest

from protoanomalyncd.training.views import augmented_view, plain_view, view_generator
from tests.tiny import random_crop


def test_a_view_depends_on_key_number_and_seed_only() -> None:
    draws = {
        name: tuple(view_generator(*arguments).integers(0, 2**31, 4))
        for name, arguments in {
            "first": ("a/0", 1, 0),
            "again": ("a/0", 1, 0),
            "region": ("a/1", 1, 0),
            "view": ("a/0", 2, 0),
            "seed": ("a/0", 1, 1),
        }.items()
    }
    assert draws.pop("again") == draws["first"]
    assert len(set(draws.values())) == len(draws)


def test_a_view_is_the_same_every_time(rng: np.random.Generator) -> None:
    crop = random_crop(rng)
    first, second = (augmented_view(*crop, 64, view_generator("k", 3, 0)) for _ in "12")
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert first[0].shape == (64, 64, 3)
    assert first[0].dtype == np.uint8
    assert first[1].shape == (64, 64)
    assert first[1].dtype == np.float32


@pytest.mark.parametrize("view", range(12))
def test_picture_and_map_are_moved_together(view: int) -> None:
    """A picture that is bright where its map is high stays so, whatever window, turn and flip."""
    amap = np.zeros((80, 80), np.float32)
    amap[10:30, 40:70] = 1
    image = np.repeat((50 + 150 * amap).astype(np.uint8)[..., None], 3, axis=2)
    window, values = augmented_view(
        image, np.zeros((80, 80), bool), amap, 64, view_generator("k", view, 0)
    )
    inside, outside = window[values > 0.5], window[values < 0.5]
    assert 0.05 < (values > 0.5).mean() < 0.3
    # Blur and sharpening reach over the edge by a few pixels.
    assert np.median(inside) - np.median(outside) > 80
    assert np.corrcoef(window.mean(axis=2).ravel(), values.ravel())[0, 1] > 0.95


def test_views_differ(rng: np.random.Generator) -> None:
    crop = random_crop(rng)
    views = [augmented_view(*crop, 64, view_generator("k", v, 0))[1].tobytes() for v in range(8)]
    assert len(set(views)) > 5


def test_the_mask_counts_fully_and_the_map_by_its_score() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:32] = True
    _, values = plain_view(
        np.zeros((64, 64, 3), np.uint8), mask, np.full((64, 64), 0.25, np.float32), 64
    )
    assert (values[:32] == 1).all()
    assert (values[32:] == 0.25).all()


def test_the_plain_view_is_the_centre(rng: np.random.Generator) -> None:
    image, mask, amap = random_crop(rng)
    window, values = plain_view(image, mask, amap, 64)
    np.testing.assert_array_equal(window, image[8:72, 8:72])
    np.testing.assert_array_equal(values, np.maximum(mask, amap)[8:72, 8:72])


def test_a_window_as_large_as_the_crop(rng: np.random.Generator) -> None:
    crop = random_crop(rng, 64)
    np.testing.assert_array_equal(plain_view(*crop, 64)[0], crop[0])
    assert augmented_view(*crop, 64, rng)[0].shape == (64, 64, 3)


def test_the_mask_alone_guides_where_asked(rng: np.random.Generator) -> None:
    image, mask, amap = random_crop(rng)
    _, values = plain_view(image, mask, amap, 64, mask_only=True)
    np.testing.assert_array_equal(values, mask[8:72, 8:72].astype(np.float32))
    _, values = augmented_view(image, mask, amap, 64, rng, mask_only=True)
    assert set(np.unique(values)) == {0.0, 1.0}


def test_the_references_recolouring_changes_colours_only() -> None:
    crop = random_crop(np.random.default_rng(0))
    views = [
        augmented_view(*crop, 64, view_generator("k", 1, 0), recolouring=recolouring)  # type: ignore[arg-type]
        for recolouring in ("default", "reference", "reference")
    ]
    np.testing.assert_array_equal(views[0][1], views[1][1])
    assert not np.array_equal(views[0][0], views[1][0])
    np.testing.assert_array_equal(views[1][0], views[2][0])


def test_the_references_recolouring_posterises_to_five_to_eight_bits() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    flat = np.zeros((80, 80), bool)
    lowest = set()
    for view in range(40):
        window, _ = augmented_view(
            image,
            flat,
            flat.astype(np.float32),
            64,
            view_generator("k", view, 0),
            recolouring="reference",
        )
        used = int(np.bitwise_or.reduce(window, axis=None))
        lowest.add(used & -used)
    assert lowest == {1, 2, 4, 8}


@pytest.mark.parametrize("view", range(4))
def test_the_object_mask_moves_with_the_picture(rng: np.random.Generator, view: int) -> None:
    image, mask, amap = random_crop(rng)
    generator = view_generator("k", view, 0)
    _, values = augmented_view(image, mask, amap, 64, generator, mask_only=True, on_object=mask)
    assert values.shape == (64, 64, 2)
    np.testing.assert_array_equal(values[..., 0], values[..., 1])
    _, plain = plain_view(image, mask, amap, 64, True, mask)
    np.testing.assert_array_equal(plain[..., 0], plain[..., 1])
    np.testing.assert_array_equal(plain[..., 0], plain_view(image, mask, amap, 64, True)[1])
