"""Where the prototypes start: class means for the known, spherical k-means for the novel.

Source: ours (AnomalyNCD and ProtoGCD start at random). The cluster with the lowest mean anomaly
score takes the place that is reserved for "normal".
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.errors import DatasetError

__all__ = ["starting_prototypes"]


def starting_prototypes(
    embeddings: Tensor, scores: Tensor, labels: Tensor, n_base: int, n_novel: int, seed: int
) -> Tensor:
    """Directions of all prototypes.

    Args:
        embeddings: unit embeddings (n, C).
        scores: anomaly scores in [0, 1], (n,).
        labels: known class, -1 = unlabelled, (n,).
        n_base: B.
        n_novel: N.
        seed: of k-means.

    Returns:
        (B + N, C), unit rows: known classes, normal, novel classes.

    Raises:
        DatasetError: fewer unlabelled samples than novel classes.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    unlabelled = labels < 0
    n_unlabelled = int(unlabelled.sum())
    if n_unlabelled < n_novel:
        raise DatasetError(
            f"expected at least as many anomalous regions as novel classes ({n_novel}), "
            f"got {n_unlabelled}; "
            "add images or lower --n-novel"
        )
    base = [embeddings[labels == k].mean(dim=0) for k in range(n_base)]
    points = embeddings[unlabelled].double().numpy()
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_novel, n_init=10, random_state=seed).fit(points)
    of_cluster = scores[unlabelled].numpy()
    mean_scores = [
        of_cluster[found.labels_ == k].mean() if (found.labels_ == k).any() else np.inf
        for k in range(n_novel)
    ]
    order = np.argsort(mean_scores, kind="stable")
    # The most anomalous others follow in k-means' own order; only "normal" has a reserved place.
    rest = sorted(int(k) for k in order[1:])
    novel = torch.from_numpy(found.cluster_centers_[[int(order[0]), *rest]]).to(embeddings.dtype)
    return F.normalize(torch.cat([torch.stack(base), novel]) if base else novel, dim=-1)
