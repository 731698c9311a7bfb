"""Number of groups from the spectrum of a neighbourhood graph.

::

    W_ij = exp(-|z_i - z_j|^2 / (s_i s_j))   where i is among the m nearest of j, or j of i; else 0
    L = I - D^(-1/2) W D^(-1/2),   lambda_1 <= lambda_2 <= ...,   gap(k) = lambda_(k+1) - lambda_k

k groups that hang together loosely give k eigenvalues near 0 and a gap after them. s_i is the
distance of sample i to its 7th neighbour (or its m-th, where m < 7).

Source: eigengap heuristic and normalised Laplacian, von Luxburg (2007); local scales, Zelnik-Manor
and Perona (2004). The sum over four neighbourhood sizes is *ours*: one size alone sees small
classes (few neighbours) or large ones (many), never both.

Letters: n samples, C channels, m neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.spatial.distance import pdist, squareform

__all__ = ["FEWEST", "SCALES", "affinities", "eigengaps", "summed_eigengaps"]

Array = npt.NDArray[np.float64]

SCALES = (0.75, 1.0, 1.4, 2.0)
"""Neighbours as multiples of sqrt(n); what chose them: docs/defaults.md."""

FEWEST = 5
"""Neighbours at least: with fewer a small set falls to pieces."""

_LOCAL = 7


def affinities(distances: Array, n_neighbours: int) -> Array:
    """W (n, n) from Euclidean distances (n, n); symmetric, its diagonal is 0."""
    n = len(distances)
    m = max(1, min(n_neighbours, n - 1))
    others = distances + np.diag(np.full(n, np.inf))
    nearest = np.argsort(others, axis=1, kind="stable")[:, :m]
    scale = np.take_along_axis(others, nearest[:, min(_LOCAL, m) - 1 : min(_LOCAL, m)], axis=1)
    product = np.maximum(scale * scale.T, np.finfo(np.float64).tiny)
    linked = np.zeros((n, n), np.bool_)
    np.put_along_axis(linked, nearest, values=True, axis=1)
    weights: Array = np.where(linked | linked.T, np.exp(-(distances**2) / product), 0.0)
    return weights


def eigengaps(distances: Array, n_neighbours: int, most: int) -> Array:
    """gap(1), ..., gap(most).

    Args:
        distances: Euclidean (n, n).
        n_neighbours: m.
        most: below n.
    """
    weights = affinities(distances, n_neighbours)
    root = np.sqrt(np.maximum(weights.sum(axis=1), 1e-12))
    laplacian = np.eye(len(weights)) - weights / (root[:, None] * root[None])
    values = eigh(laplacian, eigvals_only=True, subset_by_index=(0, most))
    gaps: Array = np.diff(values)
    return gaps


def summed_eigengaps(
    z: Array, most: int, scales: Sequence[float] = SCALES, fewest: int = FEWEST
) -> Array:
    """Sum of the gaps over sizes of neighbourhoods, (most,); *ours*.

    Args:
        z: unit embeddings (n, C).
        most: groups that are considered, below n.
        scales: neighbours as multiples of sqrt(n).
        fewest: neighbours at least.
    """
    distances = squareform(pdist(z))
    sizes = sorted({max(fewest, round(scale * len(z) ** 0.5)) for scale in scales})
    total: Array = np.sum([eigengaps(distances, m, most) for m in sizes], axis=0)
    return total
