"""S(K), the prototype score: whether K prototypes sit where their samples are.

::

    S(K) = accuracy on a held-out fifth of the labelled samples
           + 1/K sum_k cos(mu_k, centroid of the unlabelled samples assigned to k)

An empty prototype counts 0; without labelled samples the first term is dropped. Source: that the
score "comprises accuracy and centroid scores" is all that the paper and ProtoGCD's summary say;
this form is *ours*. For each K the prototypes are trained anew with the same budget and seeds, on
the stored embeddings (`short_prototypes`); they start at the groups of a Ward clustering.

Letters: n samples, V views, C channels, B known classes, K new ones, normal included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.config import PrototypeConfig
from protoanomalyncd.discovery.count.criteria import Labels
from protoanomalyncd.training.short_prototypes import short_prototypes

__all__ = ["CountData", "centroid_score", "held_out", "prototype_score"]

SEEDS = 2
_HELD_OUT_EVERY = 5


@dataclass(frozen=True, slots=True, eq=False)
class CountData:
    """Samples of which the classes are to be counted.

    Args:
        views: unit embeddings in V views, the plain one first, (n, V, C).
        anomalous: whether the crop holds a region, bool (n,).
        scores: anomaly scores in [0, 1], (n,).
        labels: known class 0..B-1, -1 = unlabelled, (n,).
    """

    views: Tensor
    anomalous: Tensor
    scores: Tensor
    labels: Tensor

    @property
    def regions(self) -> Tensor:
        """Which samples are unlabelled and hold a region, bool (n,)."""
        return (self.labels < 0) & self.anomalous

    @property
    def quiet(self) -> Tensor:
        """Which samples are unlabelled images without a region, bool (n,)."""
        return (self.labels < 0) & ~self.anomalous

    @property
    def has_labels(self) -> bool:
        """Whether there are known classes."""
        return bool((self.labels >= 0).any())

    def means(self) -> Tensor:
        """Unit mean of each sample's views (n, C)."""
        return F.normalize(self.views.mean(dim=1), dim=-1)


def held_out(labels: Tensor) -> Tensor:
    """Every fifth sample of each known class, from its first on, bool (n,)."""
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for k in labels[labels >= 0].unique():
        members = torch.nonzero(labels == k).flatten()
        if len(members) > 1:
            chosen[members[::_HELD_OUT_EVERY]] = True
    return chosen


def centroid_score(mu: Tensor, z: Tensor) -> float:
    """Mean over prototypes of the cosine to the centroid of what is assigned to them.

    Args:
        mu: unit prototypes (K, C).
        z: unit embeddings (n, C); each belongs to the prototype of the largest cosine.

    Returns:
        In [-1, 1]; an empty prototype counts 0.
    """
    nearest = (z @ mu.T).argmax(dim=1)
    sums = torch.zeros_like(mu).index_add(0, nearest, z)
    return float((F.normalize(sums, dim=-1) * mu).sum(dim=1).mean())


def prototype_score(
    data: CountData, groups: Labels, with_normal: bool, config: PrototypeConfig, seed: int
) -> float:
    """S(K) for K = number of groups, plus one where images without a region are "normal".

    Args:
        data: all samples.
        groups: start: group of each sample that is shared out (`CountData.regions`, or all
            unlabelled ones where there is no normal class), (m,).
        with_normal: images without a region start a prototype of their own.
        config: weights and temperatures of the training.
        seed: of the draw of views; `SEEDS` from here on are averaged.
    """
    means = data.means()
    n_base = int(data.labels.max()) + 1 if data.has_labels else 0
    test = held_out(data.labels)
    shared_out = means[data.regions if with_normal else data.labels < 0]
    start = [means[(data.labels == k) & ~test].mean(dim=0) for k in range(n_base)]
    if with_normal:
        start.append(means[data.quiet].mean(dim=0))
    ids = torch.from_numpy(groups)
    start += [shared_out[ids == k].mean(dim=0) for k in range(int(ids.max()) + 1)]
    train, new = ~test, data.labels < 0
    found = []
    for run in range(SEEDS):
        mu = short_prototypes(
            torch.stack(start),
            data.views[train],
            data.scores[train],
            data.labels[train],
            n_base,
            config,
            seed + run,
        )
        score = centroid_score(mu[n_base:], means[new])
        if bool(test.any()):
            right = (means[test] @ mu.T).argmax(dim=1) == data.labels[test]
            score += float(right.double().mean())
        found.append(score)
    return float(np.mean(found))
