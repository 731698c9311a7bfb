"""The seam to outlier scores, and the threshold above which a region has no name.

Convention: a larger score = more outlying, for every score here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from protoanomalyncd.errors import ConfigurationError, NotFittedError

__all__ = [
    "CosineScore",
    "NeighbourScore",
    "OutlierScore",
    "create_outlier_score",
    "registered",
    "threshold_at",
]


class OutlierScore(Protocol):
    """How strange an embedding is, given the fitted ones.

    Attributes:
        name: under which it is configured and saved.
    """

    name: ClassVar[str]

    def fit(self, embeddings: Tensor, prototypes: Tensor) -> None:
        """Unit embeddings of the fitted regions (n, C) and the unit prototypes (K, C)."""

    def score(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings (m, C) -> scores (m,), larger = more outlying."""

    def state(self) -> dict[str, Tensor]:
        """What was fitted."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""


class CosineScore:
    """1 - largest cosine to a prototype, in [0, 2] (CIDER and ProtoGCD: maximum logit)."""

    name: ClassVar[str] = "cosine"

    def __init__(self) -> None:
        self._prototypes: Tensor | None = None

    def fit(self, embeddings: Tensor, prototypes: Tensor) -> None:
        """Keep the prototypes (K, C)."""
        self._prototypes = prototypes.clone()

    def score(self, embeddings: Tensor) -> Tensor:
        """(m, C) -> (m,), in [0, 2]."""
        if self._prototypes is None:
            raise NotFittedError("outlier score 'cosine': expected fit or load_state first")
        return 1 - (embeddings @ self._prototypes.T).amax(dim=1)

    def state(self) -> dict[str, Tensor]:
        """The prototypes."""
        return {} if self._prototypes is None else {"prototypes": self._prototypes}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        self._prototypes = state["prototypes"]


class NeighbourScore:
    """1 - cosine to the k-th most similar fitted embedding, in [0, 2] (kNN score of CIDER).

    Args:
        k: neighbour; fewer fitted embeddings lower it.
    """

    name: ClassVar[str] = "neighbour"

    def __init__(self, k: int = 5) -> None:
        self.k = k
        self._embeddings: Tensor | None = None

    def fit(self, embeddings: Tensor, prototypes: Tensor) -> None:
        """Keep the embeddings (n, C)."""
        self._embeddings = embeddings.clone()

    def score(self, embeddings: Tensor) -> Tensor:
        """(m, C) -> (m,), in [0, 2]."""
        if self._embeddings is None:
            raise NotFittedError("outlier score 'neighbour': expected fit or load_state first")
        k = min(self.k, len(self._embeddings))
        return 1 - (embeddings @ self._embeddings.T).topk(k, dim=1).values[:, -1]

    def state(self) -> dict[str, Tensor]:
        """The fitted embeddings."""
        return {} if self._embeddings is None else {"embeddings": self._embeddings}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        self._embeddings = state["embeddings"]


_SCORES: dict[str, Callable[[], OutlierScore]] = {
    "cosine": CosineScore,
    "neighbour": NeighbourScore,
}


def registered() -> tuple[str, ...]:
    """The known names, sorted."""
    return tuple(sorted(_SCORES))


def create_outlier_score(name: str) -> OutlierScore:
    """Build by registered name.

    Raises:
        ConfigurationError: the name is unknown.
    """
    if name not in _SCORES:
        raise ConfigurationError(
            f"outliers.score: expected one of {', '.join(sorted(_SCORES))}, got {name!r}"
        )
    return _SCORES[name]()


def threshold_at(scores: Tensor, false_rejection_rate: float) -> float | None:
    """Score above which a region is rejected.

    Args:
        scores: of fitted regions (n,).
        false_rejection_rate: share of them that may lie above; 0 = reject nothing.

    Returns:
        The threshold, None = reject nothing.
    """
    if false_rejection_rate == 0 or len(scores) == 0:
        return None
    return float(torch.quantile(scores.double(), 1 - false_rejection_rate))
