from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from protoanomalyncd.anomaly_maps import nearest
from protoanomalyncd.anomaly_maps.nearest import FaissMemory, half_squares, nearest_distance
from protoanomalyncd.core.errors import MissingDependencyError


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


def test_known_norms_change_nothing() -> None:
    queries, memory = torch.randn(30, 8), torch.randn(50, 8)
    known = nearest_distance(queries, memory, half_norms=half_squares(memory))
    assert torch.equal(known, nearest_distance(queries, memory))


class _FlatIndex:
    """What is used of ``faiss.IndexFlatL2``, by the definition."""

    def __init__(self, width: int) -> None:
        self.rows = np.empty((0, width), np.float32)

    def add(self, rows: np.ndarray) -> None:
        self.rows = np.concatenate([self.rows, rows])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        apart = ((queries[:, None] - self.rows[None]) ** 2).sum(axis=2)
        order = apart.argsort(axis=1)[:, :k]
        return np.take_along_axis(apart, order, 1), order


@pytest.mark.parametrize("real", [True, False], ids=["faiss", "a stand-in for it"])
def test_faiss_finds_the_same_distances(real: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if real:
        pytest.importorskip("faiss", reason="faiss is not installed")
    else:
        monkeypatch.setitem(sys.modules, "faiss", SimpleNamespace(IndexFlatL2=_FlatIndex))
    queries, memory = torch.randn(30, 8), torch.randn(50, 8)
    found = FaissMemory(memory).nearest_distance(queries)
    torch.testing.assert_close(found, nearest_distance(queries, memory))


def test_without_faiss_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"detector.search: .*set it to torch"):
        FaissMemory(torch.randn(3, 8))
