"""The threshold at a chosen false-rejection rate, from regions as if they had never been seen.

A score is lower on the very regions that it keeps: a key is its own nearest key. So the fitted
images are dealt into folds, and each fold is scored by a score fitted on the others (*ours*):

    image of fold f  ->  score fitted on all other folds  ->  maximum over the image's regions

The threshold is the ``ceil((n + 1)(1 - rate))``-th smallest of the n image scores, as in conformal
prediction: an image like the fitted ones lies above it with a probability of at most the rate.

What stays in-sample: the trained block saw every fitted crop. `without_fold` takes a fold's regions
out of the prototypes as far as these are means; the block itself is not trained again.

Letters: R regions, I images, C channels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.discovery.outliers.base import OutlierScore, RegionFeatures

__all__ = [
    "FOLDS",
    "cross_fitted_scores",
    "image_numbers",
    "image_scores",
    "threshold_at",
    "without_fold",
]

FOLDS = 5
"""More folds cost more fits; each leaves out a fifth of the images."""


def image_numbers(keys: Sequence[str]) -> Tensor:
    """Number of the image of each crop, by content: copies of an image are one image.

    Args:
        keys: ``image/region`` of each crop, as in `CropSet.keys` (R,).

    Returns:
        0..I-1 in the order of their first crops (R,).
    """
    numbers: dict[str, int] = {}
    images = [key.rpartition("/")[0] for key in keys]
    return torch.tensor([numbers.setdefault(image, len(numbers)) for image in images])


def image_scores(scores: Tensor, image_index: Tensor) -> Tensor:
    """Score of an image: the maximum over its regions.

    Args:
        scores: of the regions (R,).
        image_index: image of each region, 0..I-1, each at least once, (R,).

    Returns:
        (I,).
    """
    n_images = int(image_index.max()) + 1 if len(image_index) else 0
    lowest = torch.full((n_images,), -torch.inf, dtype=scores.dtype)
    return lowest.scatter_reduce(0, image_index, scores, reduce="amax")


def threshold_at(scores: Tensor, false_rejection_rate: float) -> float | None:
    """Score above which something is rejected.

    Args:
        scores: of known things, none of which the score was fitted on, (n,).
        false_rejection_rate: share of such things that may lie above, in [0, 1); 0 = none.

    Returns:
        The threshold; None = reject nothing, also where n is too small for the rate
        (n < 1 / rate - 1: the largest of 9 scores still lets one in ten new ones lie above).
    """
    place = math.ceil((len(scores) + 1) * (1 - false_rejection_rate) - 1e-9)
    if false_rejection_rate == 0 or place > len(scores):
        return None
    return float(scores.double().sort().values[place - 1])


def cross_fitted_scores(
    create: Callable[[], OutlierScore],
    regions: RegionFeatures,
    class_ids: Tensor,
    prototypes: Tensor,
    image_index: Tensor,
    n_folds: int = FOLDS,
) -> Tensor:
    """Score of each region by a score that was fitted without its image.

    Args:
        create: makes an unfitted score.
        regions: R fitted regions.
        class_ids: prototype that each belongs to, 0..K-1, (R,).
        prototypes: unit prototypes (K, C).
        image_index: image of each region, 0..I-1, their order without meaning; -1 = a region that
            every fold fits and none scores, such as a labelled one (R,).
        n_folds: at least 2; image i is in fold ``i % n_folds``.

    Returns:
        Scores of the regions that have an image, in order; empty where there are fewer than two
        images.
    """
    scored = image_index >= 0
    if len(image_index[scored].unique()) < 2:
        return torch.zeros(0, dtype=regions.embeddings.dtype)
    scores = torch.zeros(len(regions), dtype=regions.embeddings.dtype)
    for fold in (image_index[scored] % n_folds).unique().tolist():
        held = scored & (image_index % n_folds == fold)
        score = create()
        score.fit(
            regions[~held],
            class_ids[~held],
            without_fold(prototypes, regions.embeddings, class_ids, held),
        )
        scores[held] = score.score(regions[held])
    return scores[scored]


def without_fold(prototypes: Tensor, embeddings: Tensor, class_ids: Tensor, held: Tensor) -> Tensor:
    """Prototypes as they would be without some regions.

    With S_k the sum of class k's embeddings and H_k the part of it that is held out, prototype k
    becomes the direction of ``|S_k| mu_k - H_k``: exact where mu_k is the mean direction of its
    class, a first-order correction where training moved it elsewhere. A class of which nothing is
    left keeps its prototype.

    Args:
        prototypes: unit prototypes (K, C).
        embeddings: unit embeddings (R, C).
        class_ids: prototype of each, 0..K-1, (R,).
        held: which are held out, bool (R,).

    Returns:
        Unit rows (K, C).
    """
    members = F.one_hot(class_ids, len(prototypes)).to(embeddings.dtype)
    total = (members.T @ embeddings).norm(dim=1, keepdim=True)
    left = total * prototypes - members[held].T @ embeddings[held]
    empty = (members[~held].sum(dim=0) == 0)[:, None]
    return F.normalize(torch.where(empty, prototypes, left), dim=1)
