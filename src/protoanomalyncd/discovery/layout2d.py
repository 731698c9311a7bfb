"""A flat map of the regions, for people: near = alike."""

from __future__ import annotations

import numpy as np
from torch import Tensor

__all__ = ["flat_positions"]

_FEWEST_FOR_TSNE = 8


def flat_positions(embeddings: Tensor, seed: int) -> list[tuple[float, float]]:
    """Unit embeddings (R, C) -> R positions in the plane.

    t-SNE with cosine distances; the two main components where there are too few regions for it.
    """
    points = embeddings.double().numpy()
    n_points = len(points)
    if n_points == 0:
        return []
    if n_points < _FEWEST_FOR_TSNE:
        centred = points - points.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        flat = np.zeros((n_points, 2))
        flat[:, : min(2, len(axes))] = centred @ axes[:2].T
    else:
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
            flat = tsne.fit_transform(points)
    return [(float(x), float(y)) for x, y in flat]
