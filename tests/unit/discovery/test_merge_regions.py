"""Merging against plain loops, its invariances, and the two units of area."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from protoanomalyncd.discovery.merge_regions import (
    SHARE_TEMPERATURE,
    merge_regions,
    region_weights,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
INDEX = [2, 0, 1, 2, 2, 0]
SHARES = [0.02, 0.0, 0.3, 0.005, 0.0201, 0.6]


def draw_probabilities(n: int, k: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(n, k, generator=generator, dtype=torch.float64) * 2 - 1
    return torch.softmax(cosines / 0.1, dim=1).to(dtype)


def loop_merge(
    p: list[list[float]], index: list[int], areas: list[float], temperature: float, n_base: int
) -> list[list[float]]:
    images = []
    for image in range(max(index) + 1):
        mine = [r for r in range(len(p)) if index[r] == image]
        top = max(math.sqrt(areas[r]) for r in mine)
        parts = {r: math.exp((math.sqrt(areas[r]) - top) / temperature) for r in mine}
        merged = [0.0] * len(p[0])
        for r in mine:
            for k in range(n_base, len(p[r])):
                weight = parts[r] / sum(parts.values())
                merged[k] += weight * p[r][k] / sum(p[r][n_base:])
        images.append(merged)
    return images


@DTYPES
@pytest.mark.parametrize("n_base", [0, 2, 3])
@pytest.mark.parametrize(("unit", "temperature"), [(1.0, 0.1), (1.0, 0.01), (512.0**2, 50.0)])
def test_by_loops(unit: float, temperature: float, n_base: int, dtype: torch.dtype) -> None:
    p, areas = draw_probabilities(6, 5, dtype), [a * unit for a in SHARES]
    expected = loop_merge(p.tolist(), INDEX, areas, temperature, n_base)
    merged = merge_regions(
        p, torch.tensor(INDEX), torch.tensor(areas, dtype=torch.float64), temperature, n_base
    )
    assert merged.dtype == dtype
    torch.testing.assert_close(merged, torch.tensor(expected, dtype=dtype))
    torch.testing.assert_close(merged.sum(dim=1), torch.ones(3, dtype=dtype))
    assert merged[:, :n_base].sum() == 0


def test_the_order_of_regions_does_not_matter() -> None:
    p, index, areas = draw_probabilities(6, 5), torch.tensor(INDEX), torch.tensor(SHARES)
    expected = merge_regions(p, index, areas, n_base=2)
    for seed in range(5):
        order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
        merged = merge_regions(p[order], index[order], areas[order], n_base=2)
        torch.testing.assert_close(merged, expected, rtol=0, atol=1e-15)


@DTYPES
def test_an_image_alone_equals_the_image_in_a_batch_exactly(dtype: torch.dtype) -> None:
    p, index, areas = draw_probabilities(6, 5, dtype), torch.tensor(INDEX), torch.tensor(SHARES)
    together = merge_regions(p, index, areas)
    for image in range(3):
        mine = index == image
        alone = merge_regions(p[mine], torch.zeros(int(mine.sum())), areas[mine])
        assert torch.equal(alone[0], together[image])


def test_one_region_is_the_image() -> None:
    p = draw_probabilities(1, 4)
    for area in (0.0, 0.2, 1.0):
        merged = merge_regions(p, torch.tensor([0]), torch.tensor([area]))
        torch.testing.assert_close(merged, p, rtol=1e-15, atol=0)


def test_equal_areas_count_equally() -> None:
    p = draw_probabilities(3, 4)
    merged = merge_regions(p, torch.zeros(3, dtype=torch.long), torch.full((3,), 0.04))
    torch.testing.assert_close(merged[0], p.mean(dim=0))


def test_larger_regions_count_more() -> None:
    weights = region_weights(torch.tensor([0.01, 0.04, 0.09]), torch.zeros(3, dtype=torch.long))
    assert weights[0] < weights[1] < weights[2]
    assert weights.dtype == torch.float64
    assert float(weights[2] / weights[0]) == pytest.approx(math.exp(0.2 / SHARE_TEMPERATURE))


@pytest.mark.parametrize(("side", "temperature"), [(1000, 100.0), (500, 50.0)])
def test_the_default_is_the_reference_at_the_stated_sizes(side: int, temperature: float) -> None:
    assert temperature / math.sqrt(side * side) == pytest.approx(SHARE_TEMPERATURE)
    p, index, shares = draw_probabilities(6, 5), torch.tensor(INDEX), torch.tensor(SHARES).double()
    ours = merge_regions(p, index, shares)
    reference = merge_regions(p, index, shares * side**2, temperature)
    torch.testing.assert_close(ours, reference)


def test_shares_do_not_depend_on_the_resolution_but_pixels_do() -> None:
    p, index = draw_probabilities(2, 3), torch.zeros(2, dtype=torch.long)
    small, large = torch.tensor([100.0, 1600.0]), torch.tensor([400.0, 6400.0])
    assert torch.equal(
        merge_regions(p, index, small / 128**2), merge_regions(p, index, large / 256**2)
    )
    assert not torch.allclose(
        merge_regions(p, index, small, 50.0), merge_regions(p, index, large, 50.0)
    )


def test_huge_areas_stay_finite() -> None:
    p, index = draw_probabilities(2, 3), torch.zeros(2, dtype=torch.long)
    assert torch.isfinite(merge_regions(p, index, torch.tensor([1e12, 1e9]), 0.1)).all()


def test_no_regions() -> None:
    none = torch.zeros(0, dtype=torch.long)
    assert merge_regions(torch.zeros(0, 4), none, torch.zeros(0)).shape == (0, 4)


def test_bad_input_is_named() -> None:
    p, areas = draw_probabilities(2, 3), torch.zeros(2)
    with pytest.raises(ValueError, match=r"every image 0\.\.2 to have a region"):
        merge_regions(p, torch.tensor([0, 2]), areas)
    with pytest.raises(ValueError, match=r"every image"):
        merge_regions(p, torch.tensor([0, -1]), areas)
    with pytest.raises(ValueError, match=r"at least 0, got -1"):
        merge_regions(p, torch.tensor([0, 0]), torch.tensor([-1.0, 0.0]))
    with pytest.raises(ValueError, match=r"\(R,\), got \(2,\) and \(1,\)"):
        merge_regions(p, torch.tensor([0]), areas)
    with pytest.raises(ValueError, match=r"for 3 regions, got \(2, 3\)"):
        merge_regions(p, torch.tensor([0, 0, 0]), torch.zeros(3))
    with pytest.raises(ValueError, match=r"n_base in \[0, 3\)"):
        merge_regions(p, torch.tensor([0, 0]), areas, n_base=3)
