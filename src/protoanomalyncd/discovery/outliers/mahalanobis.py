"""Distance to the nearest class mean, in units of the fitted regions' spread.

Letters: R regions, C channels, K classes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from protoanomalyncd.core.checks import Range
from protoanomalyncd.core.whitening import inverse_root
from protoanomalyncd.discovery.outliers.base import RegionFeatures
from protoanomalyncd.discovery.outliers.registry import PointScore, register

__all__ = ["Mahalanobis"]


@register("mahalanobis")
class Mahalanobis(PointScore):
    """Half the smallest squared Mahalanobis distance to a class mean over C, at least 0.

    Source: [ref] deeplearning-wisc/cider, ``eval_ood.py``: means of the classes, one covariance of
    *all* fitted embeddings, its pseudo-inverse. Where ours differs: a run has hundreds of regions
    for 256 channels, and then a pseudo-inverse is blind to most directions; the covariance S is
    shrunk to ``(1 - s) S + s (tr S / C) I`` first. ``shrinkage=0`` is the reference. And the
    division by C, so that the score is a small number whatever the network: a region that is as far
    off as the fitted ones are from their common mean scores about a half.

    Args:
        shrinkage: s, in [0, 1].
        frozen: look at the frozen view instead of the trained embedding.
    """

    def __init__(
        self, shrinkage: Annotated[float, Range(0, 1)] = 0.1, frozen: bool = False
    ) -> None:
        super().__init__(frozen)
        self.shrinkage = shrinkage

    def fit(self, regions: RegionFeatures, class_ids: Tensor, prototypes: Tensor) -> None:
        """Keep the means of the classes that have regions, and a whitening matrix (C, C)."""
        z = self.points(regions).double()
        means = torch.stack([z[class_ids == k].mean(dim=0) for k in class_ids.unique()])
        centred = z - z.mean(dim=0)
        covariance = centred.T @ centred / max(len(z) - 1, 1)
        width = len(covariance)
        spread = covariance.trace() / width
        identity = torch.eye(width, dtype=z.dtype)
        shrunk = (1 - self.shrinkage) * covariance + self.shrinkage * spread * identity
        whitening = inverse_root(shrunk)
        self.keep(means=means.to(prototypes.dtype), whitening=whitening.to(prototypes.dtype))

    def score(self, regions: RegionFeatures) -> Tensor:
        """Of each region (R,), at least 0."""
        whitening = self.kept("whitening")
        offsets = self.points(regions)[:, None] - self.kept("means")[None]
        return (offsets @ whitening).square().mean(dim=2).amin(dim=1) / 2
