"""The seam to outlier scores: what one is given, and what it must answer.

Letters: R regions, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["OutlierScore", "RegionFeatures"]


@dataclass(frozen=True, slots=True, eq=False)
class RegionFeatures:
    """What is known of R regions.

    Args:
        embeddings: unit embeddings of the trained network (R, C).
        frozen: unit vectors that no training has touched, see `GuidedEncoder.frozen_view` (R, C').
    """

    embeddings: Tensor
    frozen: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, chosen: Tensor | slice) -> RegionFeatures:
        return RegionFeatures(self.embeddings[chosen], self.frozen[chosen])

    @classmethod
    def join(cls, parts: Sequence[RegionFeatures]) -> RegionFeatures:
        """All regions of some parts, in order; no part gives no region, of no channels."""
        if not parts:
            return cls(torch.zeros((0, 0)), torch.zeros((0, 0)))
        return cls(torch.cat([p.embeddings for p in parts]), torch.cat([p.frozen for p in parts]))


@runtime_checkable
class OutlierScore(Protocol):
    """How strange a region is, given the fitted ones. Larger = more outlying.

    Attributes:
        name: under which it is configured and saved.
    """

    name: ClassVar[str]

    def fit(self, regions: RegionFeatures, class_ids: Tensor, prototypes: Tensor) -> None:
        """Learn from fitted regions; what was fitted before is forgotten.

        Args:
            regions: R regions, at least one.
            class_ids: prototype that each belongs to, 0..K-1, (R,).
            prototypes: unit prototypes (K, C).
        """

    def score(self, regions: RegionFeatures) -> Tensor:
        """R regions -> scores (R,), finite; each depends on its own region alone.

        Raises:
            NotFittedError: `fit` or `load_state` must come first.
        """

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given, as JSON values."""

    def state(self) -> dict[str, Tensor]:
        """What was fitted; empty before."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
