"""binarisation.py: the one sweep against 64 naive passes; masks have golden values."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.core.errors import AnomalyMapError
from protoanomalyncd.core.records import MapRange
from research.published.binarisation import range_of_maxima, reference_binarise, to_eight_bit
from tests.unit.regions.test_mebin import naive_run, smooth

UNIT = MapRange(0.0, 1.0)


def naive_counts(amap: np.ndarray, low: int, high: int, step: int, erosion: int) -> list[int]:
    """Threshold, erode and count at each threshold, as AnomalyNCD describes it."""
    rescaled = np.where(amap < low, 0.0, (amap.astype(float) - low) / (high - low) * 255)
    kernel = np.ones((erosion, erosion), np.uint8)
    return [
        cv2.connectedComponents(cv2.erode((rescaled > t).astype(np.uint8), kernel), connectivity=8)[
            0
        ]
        - 1
        for t in range(255, 0, -step)
    ]


@pytest.mark.parametrize("sigma", [0.8, 2.0, 6.0])
@pytest.mark.parametrize(("step", "erosion"), [(4, 6), (7, 3), (1, 6)])
def test_levels_count_like_64_passes(
    rng: np.random.Generator, sigma: float, step: int, erosion: int
) -> None:
    amap = to_eight_bit(smooth(rng, 64, sigma), UNIT)
    low, high = 60, 230
    counts = naive_counts(amap, low, high, step, erosion)
    limits, settings = MapRange(low, high), {"step": step, "erosion": erosion, "min_run": 2}
    found = reference_binarise(amap, limits, resolution=64, **settings)
    run = naive_run(counts, 2)
    if run is None:
        assert found.threshold is None
        return
    threshold = int((255 - run[2] * step) * (high - low) / 255 + low)
    assert (found.n_components, found.threshold) == (run[0], threshold)
    mask = cv2.erode((amap > threshold).astype(np.uint8), np.ones((erosion, erosion), np.uint8))
    np.testing.assert_array_equal(found.mask, mask > 0)


def test_eight_bit_maps_need_an_integer_range_that_is_not_empty() -> None:
    with pytest.raises(AnomalyMapError, match="8-bit"):
        reference_binarise(np.zeros((9, 9), np.uint8), MapRange(3.2, 3.9))


def test_a_thin_crack_is_eroded() -> None:
    amap = np.zeros((256, 256), np.float32)
    cv2.line(amap, (30, 40), (220, 200), 1.0, 2)
    assert not reference_binarise(amap, UNIT).mask.any()


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_map_below_the_range_is_no_anomaly(value: float) -> None:
    found = reference_binarise(np.full((20, 30), value, np.float32), MapRange(0.5, 1))
    assert found.threshold is None
    assert not found.mask.any()


@pytest.mark.parametrize(
    ("amap", "message"),
    [
        (np.full((4, 4), np.nan, np.float32), "finite"),
        (np.zeros((0, 4), np.float32), r"\(h, w\)"),
        (np.zeros((4, 4, 3), np.float32), r"\(h, w\)"),
    ],
)
def test_unusable_maps_are_named(amap: np.ndarray, message: str) -> None:
    with pytest.raises(AnomalyMapError, match=message):
        reference_binarise(amap, UNIT)


def test_the_range_is_smallest_and_largest_maximum_whatever_normals_say() -> None:
    maxima = np.array([3.0, 9.0, 4.0, 5.0], np.float32)
    found = range_of_maxima(maxima, np.ones(5, np.float32), MEBinConfig())
    assert (found.low, found.high) == (3.0, 9.0)
    assert range_of_maxima(maxima, None, None, 1.5).low == 1.5
