"""layout2d.py: any number of regions has a place."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from protoanomalyncd.discovery import layout2d
from protoanomalyncd.discovery.layout2d import flat_positions


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 12])
def test_every_region_has_a_finite_place_and_the_same_each_time(n: int) -> None:
    embeddings = F.normalize(torch.randn(n, 16), dim=1)
    found = flat_positions(embeddings, seed=0)
    assert len(found) == n
    assert all(p is not None and all(map(math.isfinite, p)) for p in found)
    assert found == flat_positions(embeddings, seed=0)


@pytest.mark.parametrize("n", [2, 9])
def test_equal_regions_are_no_trouble(n: int) -> None:
    found = flat_positions(F.normalize(torch.ones(n, 16), dim=1), seed=0)
    assert all(p is not None and all(map(math.isfinite, p)) for p in found)


def test_few_regions_keep_their_distances() -> None:
    points = torch.eye(3)
    flat = torch.tensor(flat_positions(points, seed=0))
    torch.testing.assert_close(
        torch.cdist(flat, flat), torch.cdist(points, points), atol=1e-5, rtol=0
    )


def test_of_many_regions_a_seeded_sample_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout2d, "MOST_POINTS", 10)
    embeddings = F.normalize(torch.randn(25, 16), dim=1)
    found = flat_positions(embeddings, seed=0)
    placed = [i for i, place in enumerate(found) if place]
    assert len(found) == 25
    assert len(placed) == 10
    assert placed != list(range(10))
    assert found == flat_positions(embeddings, seed=0)
    assert placed != [i for i, place in enumerate(flat_positions(embeddings, seed=1)) if place]
    assert [found[i] for i in placed] == flat_positions(embeddings[placed], seed=0)
