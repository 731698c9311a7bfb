"""Criteria that value a partition of the samples: silhouette, and BIC of a vMF mixture.

The partitions come from Ward's clustering, one tree for all numbers of groups, so that nothing is
random. Source: textbook (Ward 1963, Rousseeuw 1987, Schwarz 1978); details below are *ours*.

Letters: n samples, C channels, k groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from protoanomalyncd.prototypes.vmf import fit_mixture

__all__ = ["BIC_DIRECTIONS", "negative_bic", "principal", "silhouettes", "ward_partitions"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

BIC_DIRECTIONS = 16
"""Principal directions in which the BIC is computed: with all of some 256, each further class
costs more parameters than there are numbers in its samples, and one class always wins."""


def ward_partitions(z: Array, most: int) -> dict[int, Labels]:
    """Number of groups 1..most -> labels 0..k-1 (n,); the groups of k + 1 refine those of k.

    Args:
        z: embeddings (n, C).
        most: at most n.
    """
    if len(z) == 1:
        return {1: np.zeros(1, np.int64)}
    tree = linkage(z, "ward")
    found = {k: fcluster(tree, k, "maxclust") for k in range(1, most + 1)}
    return {k: np.unique(ids, return_inverse=True)[1].astype(np.int64) for k, ids in found.items()}


def silhouettes(z: Array, partitions: Mapping[int, Labels]) -> dict[int, float]:
    """Mean silhouette of each partition, in [-1, 1]; 0 for one group and for n groups."""
    from sklearn.metrics import silhouette_score

    return {
        k: float(silhouette_score(z, ids)) if 1 < len(np.unique(ids)) < len(z) else 0.0
        for k, ids in partitions.items()
    }


def principal(z: Array, directions: int) -> Array:
    """Unit rows again, in the first principal directions, (n, min(directions, n, C))."""
    centred = z - z.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    reduced = centred @ axes[:directions].T
    length = np.linalg.norm(reduced, axis=1, keepdims=True)
    # A sample at the very mean has no direction; any will do.
    reduced[length[:, 0] < 1e-12] = np.eye(1, reduced.shape[1])
    unit: Array = reduced / np.linalg.norm(reduced, axis=1, keepdims=True)
    return unit


def negative_bic(z: Array, partitions: Mapping[int, Labels]) -> dict[int, float]:
    """Minus the BIC of a vMF mixture with shared kappa, a sample; larger = better.

    Args:
        z: unit embeddings (n, C), n and C at least 2.
        partitions: who belongs to which component.
    """
    unit = principal(z, BIC_DIRECTIONS)
    return {k: -fit_mixture(unit, ids).bic(unit) / len(z) for k, ids in partitions.items()}
