"""Scores that need nothing but the prototypes.

Source: [ref] mashijie1028/ProtoGCD, ``my_utils/ood_utils.py`` (mls, msp, energy, margin), with its
signs. Where ours differ: `Cosine` and `Probability` are shifted to begin at 0.

Letters: R regions, C channels, K classes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from protoanomalyncd.core.checks import Range
from protoanomalyncd.discovery.outliers.base import RegionFeatures
from protoanomalyncd.discovery.outliers.registry import Stateful, register

__all__ = ["Cosine", "Energy", "Margin", "Probability"]


class _PrototypeScore(Stateful):
    """Keeps the prototypes (K, C)."""

    def fit(self, regions: RegionFeatures, class_ids: Tensor, prototypes: Tensor) -> None:
        """Keep the prototypes."""
        self.keep(prototypes=prototypes)

    def cosines(self, regions: RegionFeatures) -> Tensor:
        """Regions -> cosines to the prototypes (R, K)."""
        return regions.embeddings @ self.kept("prototypes").T


@register("cosine")
class Cosine(_PrototypeScore):
    """1 - largest cosine to a prototype, in [0, 2] (maximum logit)."""

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), in [0, 2]."""
        return 1 - self.cosines(regions).amax(dim=1)


class _Tempered(_PrototypeScore):
    """A prototype score with a temperature.

    Args:
        temperature: tau of the softmax over cosines, above 0.
    """

    def __init__(self, temperature: Annotated[float, Range(0, ends="(]")] = 0.1) -> None:
        super().__init__()
        self.temperature = temperature


@register("probability")
class Probability(_Tempered):
    """1 - largest probability softmax(cosines / tau), in [0, 1) (maximum softmax probability)."""

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), in [0, 1)."""
        return 1 - torch.softmax(self.cosines(regions) / self.temperature, dim=1).amax(dim=1)


@register("energy")
class Energy(_Tempered):
    """-tau log sum exp(cosines / tau): the free energy; ProtoGCD's tau is 1 here."""

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), of any sign."""
        return -self.temperature * torch.logsumexp(self.cosines(regions) / self.temperature, dim=1)


@register("margin")
class Margin(_Tempered):
    """Second largest probability minus the largest, in [-1, 0]; a single class counts as sure."""

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), in [-1, 0]."""
        posterior = torch.softmax(self.cosines(regions) / self.temperature, dim=1)
        if posterior.shape[1] == 1:
            return -posterior[:, 0]
        first, second = posterior.topk(2, dim=1).values.unbind(dim=1)
        return second - first
