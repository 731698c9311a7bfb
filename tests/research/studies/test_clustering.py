"""clustering.py: semi-supervised k-means against a naive one; all three on separable points."""

from __future__ import annotations

import numpy as np
import pytest

from protoanomalyncd.discovery.metrics import evaluate
from research.studies.clustering import agglomerative, gcd_kmeans, kmeans


def blobs(rng: np.random.Generator, n_each: int, centres: np.ndarray) -> tuple:
    labels = np.repeat(np.arange(len(centres)), n_each)
    return centres[labels] + 0.1 * rng.standard_normal((len(labels), centres.shape[1])), labels


@pytest.mark.parametrize("method", ["kmeans", "agglomerative", "gcd_kmeans"])
def test_separable_points_are_separated(method: str, rng: np.random.Generator) -> None:
    centres = 3 * rng.standard_normal((5, 6))
    points, truth = blobs(rng, 12, centres[2:])
    known, labels = blobs(rng, 8, centres[:2])
    found = {
        "kmeans": lambda: kmeans(points, 3, 0),
        "agglomerative": lambda: agglomerative(points, 3),
        "gcd_kmeans": lambda: gcd_kmeans(points, known, labels, 3, 0),
    }[method]()
    assert evaluate(truth.tolist(), found.tolist()).nmi == pytest.approx(1.0)


def naive_steps(points: np.ndarray, known: np.ndarray, labels: np.ndarray, centres: list) -> list:
    """Assign and average, one point after the other, until nothing changes."""
    while True:
        members: list[list] = [[] for _ in centres]
        for point in points:
            nearest = min(range(len(centres)), key=lambda k: sum((point - centres[k]) ** 2))
            members[nearest].append(point)
        for point, label in zip(known, labels, strict=True):
            members[label].append(point)
        moved = [sum(m) / len(m) if m else c for m, c in zip(members, centres, strict=True)]
        if all(np.allclose(a, b, atol=1e-10) for a, b in zip(moved, centres, strict=True)):
            return moved
        centres = moved


def test_gcd_kmeans_ends_where_naive_steps_end(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from research.studies import clustering

    points, known = rng.standard_normal((40, 3)), rng.standard_normal((10, 3))
    labels = np.repeat([0, 1], 5)
    starts = []
    spread_out = clustering._spread_out

    def watched(*arguments: object) -> np.ndarray:
        starts.append(spread_out(*arguments))  # type: ignore[arg-type]
        return starts[-1]

    monkeypatch.setattr(clustering, "_spread_out", watched)
    found = gcd_kmeans(points, known, labels, 3, seed=1, n_starts=1)
    np.testing.assert_allclose(
        starts[0][:2], [known[:5].mean(axis=0), known[5:].mean(axis=0)], atol=1e-12
    )
    centres = naive_steps(points, known, labels, list(starts[0]))
    expected = [min(range(3), key=lambda k: sum((p - centres[2 + k]) ** 2)) for p in points]
    assert found.tolist() == expected


def test_labelled_points_keep_known_classes_from_being_novel(rng: np.random.Generator) -> None:
    centres = 3 * rng.standard_normal((4, 5))
    points, truth = blobs(rng, 15, centres)  # the first two blobs are of known classes
    known, labels = blobs(rng, 15, centres[:2])
    found = gcd_kmeans(points, known, labels, 2, seed=0)
    novel = truth >= 2
    assert evaluate(truth[novel].tolist(), found[novel].tolist()).nmi == pytest.approx(1.0)


def test_more_starts_never_end_higher_and_seeds_repeat(rng: np.random.Generator) -> None:
    points, none = rng.standard_normal((60, 4)), np.zeros((0, 4))
    no_labels = np.zeros(0, np.int64)

    def inertia(ids: np.ndarray) -> float:
        groups = [points[ids == k] for k in set(ids.tolist())]
        return float(sum(((g - g.mean(axis=0)) ** 2).sum() for g in groups))

    one = gcd_kmeans(points, none, no_labels, 4, seed=3, n_starts=1)
    ten = gcd_kmeans(points, none, no_labels, 4, seed=3, n_starts=10)
    assert inertia(ten) <= inertia(one) + 1e-9
    again = gcd_kmeans(points, none, no_labels, 4, seed=3, n_starts=10)
    np.testing.assert_array_equal(ten, again)


def test_equal_points_do_not_break_the_start() -> None:
    points = np.ones((6, 3))
    found = gcd_kmeans(points, points[:0], np.zeros(0, np.int64), 2, seed=0)
    assert set(found.tolist()) <= {0, 1}
