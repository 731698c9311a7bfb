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
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from protoanomalyncd.core.errors import DatasetError
from protoanomalyncd.training.samples import Samples

__all__ = ["MERGED_AT_MOST", "FindCentres", "kmeans", "merged_centres", "starting_prototypes"]

FindCentres: TypeAlias = Callable[[Tensor, int, int], tuple[Tensor, Tensor]]
"""(unit embeddings (n, C), number of clusters k, seed) -> centres (k, C) and members (n,)."""

MERGED_AT_MOST = 4000
"""Of more regions a random part is merged: cost grows with the square of their number."""


def starting_prototypes(
    embeddings: Tensor,
    samples: Samples,
    n_base: int,
    n_novel: int,
    seed: int,
    find: FindCentres | None = None,
) -> Tensor:
    """Directions of all prototypes.

    Args:
        embeddings: unit embeddings (n, C).
        samples: of the same crops.
        n_base: B.
        n_novel: N, at least 2.
        seed: of what is drawn by chance.
        find: how clusters are found; None = `merged_centres`.

    Returns:
        (B + N, C), unit rows: known classes, normal, novel classes.

    Raises:
        DatasetError: fewer unlabelled samples than novel classes.
    """
    unlabelled = samples.labels < 0
    n_unlabelled = int(unlabelled.sum())
    if n_unlabelled < n_novel:
        raise DatasetError(
            f"expected at least as many anomalous regions as novel classes ({n_novel}), "
            f"got {n_unlabelled}; "
            "add images or lower --n-novel"
        )
    find = find or merged_centres
    base = [embeddings[samples.labels == k].mean(dim=0) for k in range(n_base)]
    without_region = unlabelled & ~samples.anomalous
    regions = unlabelled & samples.anomalous
    if bool(without_region.any()) and int(regions.sum()) >= n_novel - 1:
        normal = embeddings[without_region].mean(dim=0, keepdim=True)
        novel = torch.cat([normal, find(embeddings[regions], n_novel - 1, seed)[0]])
    else:
        centres, members = find(embeddings[unlabelled], n_novel, seed)
        novel = centres[_lowest_first(samples.scores[unlabelled], members, n_novel)]
    return F.normalize(torch.cat([torch.stack(base), novel]) if base else novel, dim=-1)


def merged_centres(embeddings: Tensor, n_clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres (k, C) and members (n,) of k-means that starts at the clusters of Ward's merging."""
    from sklearn.cluster import AgglomerativeClustering

    points = embeddings.double().numpy()
    if n_clusters == 1 or n_clusters == len(points):  # nothing is merged, or nothing is left
        return kmeans(points, n_clusters, seed)
    part = points
    if len(points) > MERGED_AT_MOST:
        drawn = np.random.default_rng(seed).permutation(len(points))[:MERGED_AT_MOST]
        part = points[np.sort(drawn)]
    members = AgglomerativeClustering(n_clusters).fit_predict(part)
    return kmeans(points, np.stack([part[members == k].mean(0) for k in range(n_clusters)]), seed)


def kmeans(
    points: NDArray[np.float64], start: int | NDArray[np.float64], seed: int
) -> tuple[Tensor, Tensor]:
    """Centres (k, C) and members (n,) of k-means from centres (k, C), or the best of ten draws."""
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
