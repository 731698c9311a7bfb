"""Regions that cannot be told from normal places are normal (*ours*).

A detector that is to miss little finds regions in normal images too, and they would gather in
classes of their own, or tear the others apart. The frozen network has seen normal places under the
same guidance (`regions.normal_crops`); a region that lies no farther from their mean than most of
them do is none. Farther: by the length of its whitened frozen view, a Mahalanobis distance with
shrinkage; most: a quantile of normal places that were not fitted themselves.

Letters: n normal places, R regions, D width of a frozen view.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from protoanomalyncd.core.whitening import whitening_of

__all__ = ["NormalGate"]

SHRINKAGE = 0.3
FOLDS = 4
FEWEST = 5 * FOLDS
"""Fewer normal places say nothing about a quantile: no region counts as normal then."""


class NormalGate(nn.Module):
    """Tells which regions look normal; none until it is fitted.

    Args:
        width: D.
        share: of the normal places that are to look normal, in (0, 1).

    Attributes:
        centre: mean of the normal places (D,).
        matrix: their whitening (D, D).
        limit: largest distance that counts as normal, (); -1 = nothing does.
    """

    centre: Tensor
    matrix: Tensor
    limit: Tensor

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))
        self.register_buffer("limit", torch.tensor(-1.0))

    def fit(self, normal: Tensor) -> None:
        """Learn the distance and its limit; fewer than `FEWEST` places: nothing looks normal.

        Args:
            normal: frozen views of normal places (n, D).
        """
        found = whitening_of(normal, SHRINKAGE) if len(normal) >= FEWEST else None
        if found is None:
            return
        fold = torch.arange(len(normal), device=normal.device) % FOLDS
        unseen = []
        for k in range(FOLDS):
            part = whitening_of(normal[fold != k], SHRINKAGE)
            if part is None:
                return
            unseen.append(_distance(normal[fold == k], *part))
        self.centre.copy_(found[0])
        self.matrix.copy_(found[1])
        self.limit.copy_(torch.quantile(torch.cat(unseen), self.share))

    def forward(self, frozen: Tensor) -> Tensor:
        """Frozen views of regions (R, D) -> whether each looks normal, bool (R,)."""
        return _distance(frozen, self.centre, self.matrix) <= self.limit


def _distance(rows: Tensor, centre: Tensor, matrix: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm((rows - centre) @ matrix, dim=1)
    return length
