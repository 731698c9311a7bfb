"""Plain clustering of embeddings: k-means, agglomerative, and GCD's semi-supervised k-means.

Letters: n unlabelled, l labelled points, C channels, B known, N novel classes.
"""

from __future__ import annotations

import warnings
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["agglomerative", "gcd_kmeans", "kmeans"]

Points: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[np.int64]


def kmeans(points: Points, n_classes: int, seed: int) -> Labels:
    """k-means, the best of ten starts: (n, C) -> (n,)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_classes, n_init=10, random_state=seed).fit_predict(points)
    return np.asarray(found, np.int64)


def agglomerative(points: Points, n_classes: int) -> Labels:
    """Agglomerative clustering by Ward's criterion: (n, C) -> (n,); nothing random in it."""
    from sklearn.cluster import AgglomerativeClustering

    found = AgglomerativeClustering(n_classes, linkage="ward").fit_predict(points)
    return np.asarray(found, np.int64)


def gcd_kmeans(
    points: Points,
    known: Points,
    labels: Labels,
    n_novel: int,
    seed: int,
    n_starts: int = 10,
    most_steps: int = 200,
) -> Labels:
    """Semi-supervised k-means over B + N centres; labelled points keep their class.

    Source: [ref] sgvaze/generalized-category-discovery (CVPR 2022), its paper's section 3: known
    centres start at their class means, novel ones by k-means++ on the unlabelled points; labelled
    points never leave their class. *Ours*: the answer names the nearest novel centre, as the
    protocol asks, wherever a point was during the iterations.

    Args:
        points: unlabelled (n, C), n >= N.
        known: labelled (l, C); none where B = 0.
        labels: class of each labelled point, 0..B-1, (l,).
        n_novel: N.
        seed: of the starts.
        n_starts: the one with the lowest inertia counts.
        most_steps: of one start.

    Returns:
        Novel class of each unlabelled point, 0..N-1, (n,).
    """
    n_base = int(labels.max()) + 1 if len(labels) else 0
    means = [known[labels == k].mean(axis=0) for k in range(n_base)]
    rng = np.random.default_rng(seed)
    best, lowest = np.zeros(len(points), np.int64), np.inf
    for _ in range(n_starts):
        centres = _spread_out(points, means, n_novel, rng)
        for _ in range(most_steps):
            nearest = _distances(points, centres).argmin(axis=1)
            moved = _moved(centres, points, nearest, known, labels)
            still, centres = np.allclose(moved, centres, atol=1e-10), moved
            if still:
                break
        distances = _distances(points, centres)
        inertia = distances.min(axis=1).sum() + ((known - centres[labels]) ** 2).sum()
        if inertia < lowest:
            best, lowest = distances[:, n_base:].argmin(axis=1), float(inertia)
    return np.asarray(best, np.int64)


def _distances(points: Points, centres: Points) -> Points:
    """Squared distances (n, K)."""
    squared: Points = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2)
    return squared


def _moved(
    centres: Points, points: Points, nearest: Labels, known: Points, labels: Labels
) -> Points:
    """Mean of what belongs to each centre; an empty one stays."""
    moved = centres.copy()
    for k in range(len(centres)):
        members = np.concatenate([points[nearest == k], known[labels == k]])
        if len(members):
            moved[k] = members.mean(axis=0)
    return moved


def _spread_out(
    points: Points, start: list[Points], n_novel: int, rng: np.random.Generator
) -> Points:
    """The known centres, and novel ones drawn by k-means++."""
    centres = list(start)
    for _ in range(n_novel):
        if centres:
            weights = _distances(points, np.stack(centres)).min(axis=1)
        else:
            weights = np.ones(len(points))
        total = weights.sum()
        shares = weights / total if total > 0 else None
        centres.append(points[rng.choice(len(points), p=shares)])
    return np.stack(centres)
