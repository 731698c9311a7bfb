"""Scores that compare with the nearest fitted regions, and keep at most `MOST_KEYS` of them.

Letters: R regions, M keys, C channels, K classes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from protoanomalyncd.core.checks import Range
from protoanomalyncd.discovery.outliers.base import RegionFeatures
from protoanomalyncd.discovery.outliers.registry import PointScore, register

__all__ = ["MOST_KEYS", "LocalDensity", "Neighbour", "own_distances", "thinned"]

MOST_KEYS = 10_000
"""Bound on what a score keeps: 10 MB at 256 channels."""

_CHUNK = 1_000
_LEAST_DISTANCE = 1e-3
"""Copies of an image are no distance apart; nothing is divided by less than this."""


def thinned(n_regions: int, most: int = MOST_KEYS) -> Tensor:
    """Positions of at most `most` regions, evenly spread: their order, by content, says nothing."""
    if n_regions <= most:
        return torch.arange(n_regions)
    return (torch.arange(most) * n_regions) // most


def own_distances(keys: Tensor, n: int) -> Tensor:
    """Mean cosine distance of each key to its n nearest other keys.

    Args:
        keys: unit rows (M, C).
        n: neighbours, at least 1; fewer other keys lower it.

    Returns:
        (M,), at least 0.001; 1 where there is no other key.
    """
    n = min(n, len(keys) - 1)
    if n == 0:
        return torch.ones(len(keys), dtype=keys.dtype)
    rows = []
    for start in range(0, len(keys), _CHUNK):
        similar = keys[start : start + _CHUNK] @ keys.T
        place = torch.arange(len(similar))
        similar[place, start + place] = -torch.inf
        rows.append(1 - similar.topk(n, dim=1).values.mean(dim=1))
    return torch.cat(rows).clamp(min=_LEAST_DISTANCE)


@register("neighbour")
class Neighbour(PointScore):
    """1 - cosine to the k-th most similar fitted region, in [0, 2].

    Source: [ref] deeplearning-wisc/cider, ``eval_ood.py``, whose score is the squared Euclidean
    distance of unit vectors, 2 - 2 cosine: twice ours.

    Args:
        k: neighbour, at least 1; fewer fitted regions lower it.
        frozen: look at the frozen view instead of the trained embedding.
    """

    def __init__(self, k: Annotated[int, Range(1)] = 5, frozen: bool = False) -> None:
        super().__init__(frozen)
        self.k = k

    def fit(self, regions: RegionFeatures, class_ids: Tensor, prototypes: Tensor) -> None:
        """Keep the points (M, C)."""
        self.keep(keys=self.points(regions)[thinned(len(regions))])

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), in [0, 2]."""
        keys = self.kept("keys")
        similar = (self.points(regions) @ keys.T).topk(min(self.k, len(keys)), dim=1).values
        return 1 - similar[:, -1]


@register("local_density")
class LocalDensity(PointScore):
    """How much further away its neighbours are than they are from theirs; 1 = among its like.

    ::

        score = mean distance to the n nearest keys / mean over these of a key's own such distance

    A plain distance calls every member of a loose class strange, whole images without a region
    first of all. Source: the local outlier factor (Breunig et al. 2000) with mean cosine distances
    in place of reachabilities: *ours*.

    Args:
        nearest: n, at least 1.
        frozen: look at the frozen view instead of the trained embedding.
    """

    def __init__(self, nearest: Annotated[int, Range(1)] = 4, frozen: bool = False) -> None:
        super().__init__(frozen)
        self.nearest = nearest

    def fit(self, regions: RegionFeatures, class_ids: Tensor, prototypes: Tensor) -> None:
        """Keep the points (M, C) and the own distance of each (M,)."""
        keys = self.points(regions)[thinned(len(regions))]
        self.keep(keys=keys, scales=own_distances(keys, self.nearest))

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), at least 0."""
        keys, scales = self.kept("keys"), self.kept("scales")
        near = (self.points(regions) @ keys.T).topk(min(self.nearest, len(keys)), dim=1)
        return (1 - near.values).clamp(min=0).mean(dim=1) / scales[near.indices].mean(dim=1)
