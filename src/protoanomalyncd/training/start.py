"""Where the prototypes start: class means for the known, cluster means for the novel.

Source: ours (AnomalyNCD and ProtoGCD start at random). Images in which nothing stands out start the
prototype that is reserved for "normal", and only the anomalous regions are shared out among the
others. Where every image has a region, the cluster with the lowest mean anomaly score takes the
reserved place.

Clusters: Ward's merging, then k-means from the means of its clusters. A few rare types are found by
merging where k-means, which draws its first centres by chance, often cuts a frequent one in two.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from protoanomalyncd.core.errors import DatasetError

__all__ = ["MERGED_AT_MOST", "starting_prototypes"]

MERGED_AT_MOST = 4000
"""Of more regions a random part is merged: cost grows with the square of their number."""


def starting_prototypes(
    embeddings: Tensor,
    anomalous: Tensor,
    scores: Tensor,
    labels: Tensor,
    n_base: int,
    n_novel: int,
    seed: int,
    by_chance: bool = False,
) -> Tensor:
    """Directions of all prototypes.

    Args:
        embeddings: unit embeddings (n, C).
        anomalous: whether the crop holds a region, not a whole image without one, bool (n,).
        scores: anomaly scores in [0, 1], (n,).
        labels: known class, -1 = unlabelled, (n,).
        n_base: B.
        n_novel: N, at least 2.
        seed: of what is drawn by chance.
        by_chance: k-means from centres drawn by chance, so that several heads start differently.

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
    find = _drawn_centres if by_chance else _merged_centres
    base = [embeddings[labels == k].mean(dim=0) for k in range(n_base)]
    quiet = unlabelled & ~anomalous
    regions = unlabelled & anomalous
    if bool(quiet.any()) and int(regions.sum()) >= n_novel - 1:
        normal = embeddings[quiet].mean(dim=0, keepdim=True)
        novel = torch.cat([normal, find(embeddings[regions], n_novel - 1, seed)[0]])
    else:
        centres, members = find(embeddings[unlabelled], n_novel, seed)
        novel = centres[_lowest_first(scores[unlabelled], members, n_novel)]
    return F.normalize(torch.cat([torch.stack(base), novel]) if base else novel, dim=-1)


def _merged_centres(embeddings: Tensor, n_clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres (k, C) and members (n,) of k-means that starts at the clusters of Ward's merging."""
    from sklearn.cluster import AgglomerativeClustering

    points = embeddings.double().numpy()
    if n_clusters == 1 or n_clusters == len(points):  # nothing is merged, or nothing is left
        return _kmeans(points, n_clusters, seed)
    part = points
    if len(points) > MERGED_AT_MOST:
        drawn = np.random.default_rng(seed).permutation(len(points))[:MERGED_AT_MOST]
        part = points[np.sort(drawn)]
    members = AgglomerativeClustering(n_clusters).fit_predict(part)
    return _kmeans(points, np.stack([part[members == k].mean(0) for k in range(n_clusters)]), seed)


def _drawn_centres(embeddings: Tensor, n_clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres (k, C) and members (n,) of the best of ten runs of k-means."""
    return _kmeans(embeddings.double().numpy(), n_clusters, seed)


def _kmeans(
    points: NDArray[np.float64], start: int | NDArray[np.float64], seed: int
) -> tuple[Tensor, Tensor]:
    """k-means from centres (k, C), or from k drawn by chance."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if isinstance(start, int):
        means = KMeans(start, n_init=10, random_state=seed)
    else:
        means = KMeans(len(start), init=start, n_init=1, random_state=seed)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = means.fit(points)
    return torch.from_numpy(found.cluster_centers_).float(), torch.from_numpy(found.labels_)


def _lowest_first(scores: Tensor, members: Tensor, n_clusters: int) -> list[int]:
    """The cluster with the lowest mean score, then the others in their own order."""
    means = [
        float(scores[members == k].mean()) if bool((members == k).any()) else np.inf
        for k in range(n_clusters)
    ]
    lowest = int(np.argmin(means))
    return [lowest, *(k for k in range(n_clusters) if k != lowest)]
