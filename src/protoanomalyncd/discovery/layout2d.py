"""A flat map of the regions, for people: near = alike.

t-SNE searches neighbours of every region among all, so its time grows with their square. Beyond
`MOST_POINTS` a random sample is drawn instead, which shows the same shapes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from protoanomalyncd.core.records import Discovery

__all__ = ["MOST_POINTS", "FlatMap", "flat_positions"]

MOST_POINTS = 2_000
_FEWEST_FOR_TSNE = 8
_Place: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class FlatMap:
    """What the map of a discovery is made from.

    Args:
        embeddings: unit embeddings (R, C), in the order of the images' content.
        rows: row of each of `Discovery.regions` in it.
        seed: of sample and t-SNE.
    """

    embeddings: Tensor
    rows: tuple[int, ...]
    seed: int

    def place(self, discovery: Discovery) -> Discovery:
        """The same with the regions' positions; None for those that are not in the sample."""
        places = flat_positions(self.embeddings, self.seed)
        regions = [
            dataclasses.replace(region, position=places[row])
            for region, row in zip(discovery.regions, self.rows, strict=True)
        ]
        return dataclasses.replace(discovery, regions=tuple(regions))


def flat_positions(embeddings: Tensor, seed: int) -> list[_Place | None]:
    """Unit embeddings (R, C) -> R positions in the plane.

    t-SNE with cosine distances; the two main components where there are too few regions for it.
    Of more than `MOST_POINTS` regions, that many have a position and the others None.
    """
    points = embeddings.double().numpy()
    chosen = np.arange(len(points))
    if len(points) > MOST_POINTS:
        chosen = np.random.default_rng(seed).choice(len(points), MOST_POINTS, replace=False)
        chosen.sort()
    places: list[_Place | None] = [None] * len(points)
    for row, (x, y) in zip(chosen.tolist(), _flat(points[chosen], seed), strict=True):
        places[row] = (float(x), float(y))
    return places


def _flat(points: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """(n, C) -> (n, 2)."""
    n_points = len(points)
    flat = np.zeros((n_points, 2))
    if n_points == 0:
        return flat
    if n_points < _FEWEST_FOR_TSNE:
        centred = points - points.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        flat[:, : min(2, len(axes))] = centred @ axes[:2].T
        return flat
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    tsne = TSNE(
        2,
        perplexity=min(30.0, (n_points - 1) / 3),
        metric="cosine",
        init="random",
        random_state=seed,
    )
    # Its steps are so short that several threads spend their time waiting for each other.
    with threadpool_limits(1):
        return np.asarray(tsne.fit_transform(points), np.float64)
