"""Outlier scores by name."""

from __future__ import annotations

import torch
from torch import Tensor

from protoanomalyncd.core.errors import NotFittedError
from protoanomalyncd.core.registry import Registered, Registry
from protoanomalyncd.discovery.outliers.base import OutlierScore, RegionFeatures

__all__ = [
    "SCORES",
    "PointScore",
    "Stateful",
    "create_outlier_score",
    "register",
    "registered",
]

SCORES: Registry[OutlierScore] = Registry(
    "outliers.score", "protoanomalyncd.outlier_scores", OutlierScore
)
register, registered, create_outlier_score = SCORES.register, SCORES.names, SCORES.create


class Stateful(Registered):
    """What the scores here share: named tensors that `fit` keeps and `score` needs."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def state(self) -> dict[str, Tensor]:
        """What was fitted; empty before."""
        return dict(self._kept)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        self._kept = dict(state)

    def keep(self, **tensors: Tensor) -> None:
        """Keep copies, contiguous, on the CPU."""
        self.load_state(
            {
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in tensors.items()
            }
        )

    def kept(self, name: str) -> Tensor:
        """One of them.

        Raises:
            NotFittedError: nothing was fitted.
        """
        if name not in self._kept:
            raise NotFittedError(
                f"outlier score {self.name!r}: expected fit or load_state first, got neither"
            )
        return self._kept[name]


class PointScore(Stateful):
    """A score over points on the sphere: the trained embeddings, or the frozen views.

    Training pulls regions towards the classes that it knows, unseen ones too. The frozen views keep
    them apart, and since nothing was learned on them, fitted and new ones differ in nothing.

    Args:
        frozen: take the frozen views.
    """

    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        self.frozen = frozen

    def points(self, regions: RegionFeatures) -> Tensor:
        """Unit points (R, C)."""
        return regions.frozen if self.frozen else regions.embeddings
