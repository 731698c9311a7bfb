"""views.py: one view per key, whatever the order; picture and map move together."""

from __future__ import annotations

import numpy as np
import pytest

from protoanomalyncd.training.views import augmented_view, plain_view, view_generator
from tests.tiny import random_crop


def picture(rng: np.random.Generator, side: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Image and values that guide."""
    image, mask, amap = random_crop(rng, side)
    return image, np.maximum(mask, amap)


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
    crop = picture(rng)
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
    window, values = augmented_view(image, amap, 64, view_generator("k", view, 0))
    inside, outside = window[values > 0.5], window[values < 0.5]
    assert 0.05 < (values > 0.5).mean() < 0.3
    # Blur and sharpening reach over the edge by a few pixels.
    assert np.median(inside) - np.median(outside) > 80
    assert np.corrcoef(window.mean(axis=2).ravel(), values.ravel())[0, 1] > 0.95


def test_views_differ(rng: np.random.Generator) -> None:
    crop = picture(rng)
    views = [augmented_view(*crop, 64, view_generator("k", v, 0))[1].tobytes() for v in range(8)]
    assert len(set(views)) > 5


def test_a_window_as_large_as_the_crop(rng: np.random.Generator) -> None:
    crop = picture(rng, 64)
    np.testing.assert_array_equal(plain_view(*crop, 64)[0], crop[0])
    assert augmented_view(*crop, 64, rng)[0].shape == (64, 64, 3)


def test_the_plain_view_is_the_centre(rng: np.random.Generator) -> None:
    image, values = picture(rng)
    window, seen = plain_view(image, values, 64)
    np.testing.assert_array_equal(window, image[8:72, 8:72])
    np.testing.assert_array_equal(seen, values[8:72, 8:72])


@pytest.mark.parametrize("view", range(4))
def test_all_values_that_guide_move_with_the_picture(rng: np.random.Generator, view: int) -> None:
    image, values = picture(rng)
    both = np.stack([values, values], axis=-1)
    _, moved = augmented_view(image, both, 64, view_generator("k", view, 0))
    assert moved.shape == (64, 64, 2)
    np.testing.assert_array_equal(moved[..., 0], moved[..., 1])
    _, alone = augmented_view(image, values, 64, view_generator("k", view, 0))
    np.testing.assert_array_equal(moved[..., 0], alone)
