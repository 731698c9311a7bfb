"""graph.py: weights and gaps against a naive loop, and the number of groups that they tell."""

from __future__ import annotations

import numpy as np
import pytest

from protoanomalyncd.discovery.count.graph import affinities, eigengaps, summed_eigengaps
from tests.unit.discovery.count.blobs import groups


def distances_of(z: np.ndarray) -> np.ndarray:
    return np.linalg.norm(z[:, None] - z[None], axis=-1)


def naive_affinities(z: np.ndarray, m: int) -> np.ndarray:
    n = len(z)
    weights = np.zeros((n, n))
    order = [
        sorted((j for j in range(n) if j != i), key=lambda j: np.linalg.norm(z[i] - z[j]))
        for i in range(n)
    ]
    scale = [np.linalg.norm(z[i] - z[order[i][min(7, m) - 1]]) for i in range(n)]
    for i in range(n):
        for j in range(n):
            if i != j and (j in order[i][:m] or i in order[j][:m]):
                squared = np.linalg.norm(z[i] - z[j]) ** 2
                weights[i, j] = np.exp(-squared / (scale[i] * scale[j]))
    return weights


@pytest.mark.parametrize("m", [1, 3, 7, 10, 40])
def test_weights_as_a_loop_gives_them(m: int) -> None:
    z = groups(3, 5, spread=0.2)
    m_used = min(m, len(z) - 1)
    np.testing.assert_allclose(
        affinities(distances_of(z), m), naive_affinities(z, m_used), atol=1e-9
    )


def test_gaps_are_those_of_the_whole_spectrum() -> None:
    z = groups(3, 6, spread=0.2)
    weights = affinities(distances_of(z), 5)
    degree = weights.sum(axis=1)
    laplacian = np.eye(len(z))
    for i in range(len(z)):
        for j in range(len(z)):
            laplacian[i, j] -= weights[i, j] / np.sqrt(degree[i] * degree[j])
    expected = np.diff(np.linalg.eigvalsh(laplacian))[:7]
    np.testing.assert_allclose(eigengaps(distances_of(z), 5, 7), expected, atol=1e-9)


@pytest.mark.parametrize("n_groups", [1, 2, 5, 11])
def test_the_largest_gap_follows_the_number_of_groups(n_groups: int) -> None:
    gaps = summed_eigengaps(groups(n_groups, 10, spread=0.05), 15 if n_groups > 1 else 8)
    assert int(np.argmax(gaps)) + 1 == n_groups


def test_the_order_of_samples_changes_nothing() -> None:
    z = groups(4, 8, spread=0.1)
    shuffled = z[np.random.default_rng(0).permutation(len(z))]
    np.testing.assert_allclose(summed_eigengaps(z, 8), summed_eigengaps(shuffled, 8), atol=1e-9)


def test_equal_samples_give_finite_gaps() -> None:
    assert np.isfinite(summed_eigengaps(np.repeat(groups(2, 1), 6, axis=0), 5)).all()
