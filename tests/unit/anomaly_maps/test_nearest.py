from __future__ import annotations

import pytest
import torch

from protoanomalyncd.anomaly_maps import nearest
from protoanomalyncd.anomaly_maps.nearest import nearest_distance


def _naive(queries: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """The definition, pair by pair, in float64."""
    return torch.stack(
        [min((q.double() - m.double()).square().sum().sqrt() for m in memory) for q in queries]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n_queries", "n_memory"), [(1, 1), (5, 3), (23, 40)])
def test_equals_the_definition(
    dtype: torch.dtype, n_queries: int, n_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 8)
    monkeypatch.setattr(nearest, "MEMORY_BLOCK", 16)
    queries = torch.randn(n_queries, 6, dtype=dtype)
    memory = torch.randn(n_memory, 6, dtype=dtype)
    expected = _naive(queries, memory).to(dtype)
    torch.testing.assert_close(nearest_distance(queries, memory), expected)


def test_small_distances_far_from_the_origin_keep_their_digits() -> None:
    # |q|^2 - 2 q.m + |m|^2 in float32 would lose all of it: 1e-3 against norms of 1e3.
    memory = torch.randn(50, 64) + 100
    queries = memory[:20] + 1e-3 * torch.randn(20, 64)
    centre = memory.mean(0)
    found = nearest_distance(queries - centre, memory - centre)
    torch.testing.assert_close(found, _naive(queries, memory).float(), rtol=0.02, atol=0)


def test_a_patch_of_the_memory_has_distance_zero() -> None:
    memory = torch.randn(100, 16)
    assert nearest_distance(memory, memory).abs().max() == 0


def test_excluded_patches_are_not_used() -> None:
    memory = torch.randn(60, 8)
    queries = memory[:10].clone()
    excluded = torch.zeros(60, dtype=torch.bool)
    excluded[:10] = True
    expected = _naive(queries, memory[10:]).float()
    torch.testing.assert_close(nearest_distance(queries, memory, excluded), expected)
    assert nearest_distance(queries, memory, torch.ones(60, dtype=torch.bool)).isinf().all()


def test_no_query_gives_no_distance() -> None:
    assert nearest_distance(torch.empty(0, 8), torch.randn(3, 8)).shape == (0,)
