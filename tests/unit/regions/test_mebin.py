"""MEBin: the one sweep against naive counts, and what it promises."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.core.errors import AnomalyMapError
from protoanomalyncd.core.records import MapRange
from protoanomalyncd.regions.mebin import (
    binarise,
    count_components,
    default_resolution,
    stable_run,
)

UNIT = MapRange(0.0, 1.0)


def smooth(rng: np.random.Generator, side: int, sigma: float) -> np.ndarray:
    field = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), sigma)
    return ((field - field.min()) / np.ptp(field)).astype(np.float32)


def naive_run(counts: list[int], min_run: int) -> tuple[int, int, int] | None:
    """(count, start, end) by comparing every run of the sequence with every other."""
    runs = []
    for start in range(len(counts)):
        if start and counts[start] == counts[start - 1]:
            continue
        end = start
        while end + 1 < len(counts) and counts[end + 1] == counts[start]:
            end += 1
        if counts[start] and end - start + 1 >= min_run:
            runs.append((counts[start], start, end))
    if not runs:
        return None
    order = list(dict.fromkeys(r[0] for r in runs))
    length = {c: max(e - s for k, s, e in runs if k == c) for c in order}
    winner = next(c for c in order if length[c] == max(length.values()))
    return [r for r in runs if r[0] == winner and r[2] - r[1] == length[winner]][-1]


@pytest.mark.parametrize("min_area", [0, 5])
def test_nested_counting_equals_counting_each_level(
    rng: np.random.Generator, min_area: int
) -> None:
    for sigma in (0.6, 1.5, 4.0):
        levels = (smooth(rng, 80, sigma) * 30).astype(np.uint8)
        counts = count_components(levels, 32, min_area)
        for i, count in enumerate(counts):
            above = (levels >= 32 - i).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
            assert count == (stats[1:, cv2.CC_STAT_AREA] >= min_area).sum()


def test_stable_run_equals_the_naive_choice_on_random_sequences(rng: np.random.Generator) -> None:
    seen = set()
    for _ in range(3000):
        counts = np.repeat(rng.integers(0, 4, 30), rng.integers(1, 7, 30))[:64].tolist()
        found, expected = stable_run(counts, 4), naive_run(counts, 4)
        got = None if found is None else (found.count, found.start, found.end)
        assert got == expected, counts
        seen.add(None if expected is None else expected[0])
    assert seen >= {1, 2, 3}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1, 1, 2, 2], (1, 0, 1)),  # equal lengths: the count met first
        ([1, 1, 2, 2, 2, 1, 1, 1], (1, 5, 7)),  # met first by its shorter run
        ([3, 3, 0, 3, 3], (3, 3, 4)),  # equal runs of one count: the last
        ([0, 0, 0, 0], None),
        ([1, 2, 1, 2], None),
    ],
)
def test_ties(counts: list[int], expected: tuple[int, int, int] | None) -> None:
    run = stable_run(counts, 2)
    assert (run and (run.count, run.start, run.end)) == expected


@pytest.mark.parametrize(("scale", "shift"), [(8.0, 0.0), (0.25, 0.0), (1.0, 64.0), (4.0, -512.0)])
def test_scaling_maps_and_range_together_changes_no_mask(
    rng: np.random.Generator, scale: float, shift: float
) -> None:
    config = MEBinConfig()
    found_any = False
    for sigma in (2.0, 5.0):
        # Multiples of 1/256, so that scaling and shifting is exact in float32.
        amap = np.round(smooth(rng, 40, sigma) * 256).astype(np.float32) / 256
        plain = binarise(amap, MapRange(0.5, 1.0), config)
        moved = binarise(amap * scale + shift, MapRange(0.5 * scale + shift, scale + shift), config)
        np.testing.assert_array_equal(moved.mask, plain.mask)
        assert moved.n_components == plain.n_components
        if plain.threshold is not None:
            found_any = True
            assert moved.threshold == pytest.approx(plain.threshold * scale + shift)
    assert found_any


def test_one_map_is_not_changed_by_others_and_not_overwritten(rng: np.random.Generator) -> None:
    amap = smooth(rng, 32, 4.0)
    kept = amap.copy()
    first = binarise(amap, UNIT, MEBinConfig())
    binarise(smooth(rng, 32, 2.0), UNIT, MEBinConfig())
    again = binarise(amap, UNIT, MEBinConfig())
    np.testing.assert_array_equal(first.mask, again.mask)
    np.testing.assert_array_equal(amap, kept)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_it_finds_as_many_components_as_there_are(n: int) -> None:
    y, x = np.mgrid[:32, :32]
    centres = ((6, 6), (25, 8), (8, 26), (24, 24))[:n]
    blobs = [
        (0.6 + 0.1 * i) * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 9)
        for i, (a, b) in enumerate(centres)
    ]
    amap = np.maximum.reduce(blobs).astype(np.float32)
    amap[16, 16] = 0.5  # a speck: below min_area, neither counted nor kept
    found = binarise(amap, MapRange(0.1, 1.0), MEBinConfig(min_area=3))
    assert found.n_components == n
    assert cv2.connectedComponents(found.mask.view(np.uint8))[0] - 1 == n
    assert not found.mask[46:51, 46:51].any()


def test_thin_crack_survives() -> None:
    amap = np.zeros((256, 256), np.float32)
    cv2.line(amap, (30, 40), (220, 200), 1.0, 2)
    found = binarise(amap, UNIT, MEBinConfig())
    assert found.n_components == 1
    assert (found.mask & (amap > 0)).sum() >= 0.9 * (amap > 0).sum()
    assert found.mask.sum() <= 2 * (amap > 0).sum()


def test_weak_peak_of_one_map_pixel_keeps_its_height_when_upsampled() -> None:
    amap = np.full((32, 32), 0.2, np.float32)
    amap[9, 20] = 0.27  # with even factors bilinear interpolation takes more than a tenth of it
    found = binarise(amap, MapRange(0.24, 1.0), MEBinConfig(min_run=1, min_area=0))
    assert found.n_components == 1
    ys, xs = np.nonzero(found.mask)
    assert (round(ys.mean()), round(xs.mean())) == (9 * 3 + 1, 20 * 3 + 1)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_map_below_the_range_is_no_anomaly(value: float) -> None:
    found = binarise(np.full((20, 30), value, np.float32), MapRange(0.5, 1), MEBinConfig())
    assert found.threshold is None
    assert found.n_components == 0
    assert not found.mask.any()
    assert found.mask.dtype == np.bool_


def test_constant_map_above_the_range_is_one_region_that_fills_the_image() -> None:
    found = binarise(np.full((20, 30), 5.0, np.float32), UNIT, MEBinConfig())
    assert found.n_components == 1
    assert found.mask.all()


@pytest.mark.parametrize(
    ("amap", "message"),
    [
        (np.full((4, 4), np.nan, np.float32), "finite"),
        (np.full((4, 4), np.inf, np.float32), "finite"),
        (np.zeros((0, 4), np.float32), r"\(h, w\)"),
        (np.zeros((4, 4, 3), np.float32), r"\(h, w\)"),
    ],
)
def test_unusable_maps_are_named(amap: np.ndarray, message: str) -> None:
    with pytest.raises(AnomalyMapError, match=message):
        binarise(amap, UNIT, MEBinConfig())


@pytest.mark.parametrize(
    ("shape", "side"),
    [((32, 32), 96), ((20, 50), 150), ((170, 100), 510), ((171, 9), 171), ((2000, 999), 512)],
)
def test_resolution_follows_the_map(shape: tuple[int, int], side: int) -> None:
    assert default_resolution(shape) == side
    found = binarise(np.zeros(shape, np.float32), UNIT, MEBinConfig())
    assert found.mask.shape == (side, side)
