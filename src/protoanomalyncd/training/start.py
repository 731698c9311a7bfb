"""Where the prototypes start: class means for the known, spherical k-means for the novel.

Source: ours (AnomalyNCD and ProtoGCD start at random). Images in which nothing stands out start the
prototype that is reserved for "normal", and k-means shares out the anomalous regions only. Where
every image has a region, the cluster with the lowest mean anomaly score takes the reserved place.
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
    embeddings: Tensor,
    anomalous: Tensor,
    scores: Tensor,
    labels: Tensor,
    n_base: int,
    n_novel: int,
    seed: int,
) -> Tensor:
    """Directions of all prototypes.

    Args:
        embeddings: unit embeddings (n, C).
        anomalous: whether the crop holds a region, not a whole image without one, bool (n,).
        scores: anomaly scores in [0, 1], (n,).
        labels: known class, -1 = unlabelled, (n,).
        n_base: B.
        n_novel: N, at least 2.
        seed: of k-means.

    Returns:
        (B + N, C), unit rows: known classes, normal, novel classes.

    Raises:
        DatasetError: fewer unlabelled samples than novel classes.
    """
    unlabelled = labels < 0
    n_unlabelled = int(unlabelled.sum())
    if n_unlabelled < n_novel:
        raise DatasetError(
            f"expected at least as many anomalous regions as novel classes ({n_novel}), "
            f"got {n_unlabelled}; "
            "add images or lower --n-novel"
        )
    base = [embeddings[labels == k].mean(dim=0) for k in range(n_base)]
    quiet = unlabelled & ~anomalous
    regions = unlabelled & anomalous
    if bool(quiet.any()) and int(regions.sum()) >= n_novel - 1:
        normal = embeddings[quiet].mean(dim=0, keepdim=True)
        novel = torch.cat([normal, _centres(embeddings[regions], n_novel - 1, seed)[0]])
    else:
        centres, members = _centres(embeddings[unlabelled], n_novel, seed)
        novel = centres[_lowest_first(scores[unlabelled], members, n_novel)]
    return F.normalize(torch.cat([torch.stack(base), novel]) if base else novel, dim=-1)


def _centres(embeddings: Tensor, n_clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres (k, C) and members (n,) of k-means."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_clusters, n_init=10, random_state=seed).fit(embeddings.double().numpy())
    centres = torch.from_numpy(found.cluster_centers_).to(embeddings.dtype)
    return centres, torch.from_numpy(found.labels_)


def _lowest_first(scores: Tensor, members: Tensor, n_clusters: int) -> list[int]:
    """The cluster with the lowest mean score, then the others in their own order."""
    means = [
        float(scores[members == k].mean()) if bool((members == k).any()) else np.inf
        for k in range(n_clusters)
    ]
    lowest = int(np.argmin(means))
    return [lowest, *(k for k in range(n_clusters) if k != lowest)]
