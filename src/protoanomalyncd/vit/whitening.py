"""Embeddings relative to what the ground alone looks like (*ours*).

A class token that is guided to a defect still says much about what lies around it: light, grain,
the batch of the material. Clusters then follow the ground and not the defect. What such nuisances
do to an embedding can be seen without any label: guide the class token to a place that is *normal*,
as if there were a defect, and look at how the embeddings vary. Directions in which normal places
differ are shrunk (`core.whitening`), and the result has unit length again. The paper
speaks of "preserving normal features"; that they are used like this is ours. Within-class
covariance normalisation (Hatch et al., 2006) is the same step with labelled classes in the place of
normal places.

Letters: n embeddings, D their width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.core.whitening import whitening_of

__all__ = ["FEWEST_NORMAL", "NormalWhitening"]

FEWEST_NORMAL = 8
"""Fewer normal embeddings say nothing about a covariance: nothing is changed then."""


class NormalWhitening(nn.Module):
    """Takes embeddings relative to those of normal places; the identity until it is fitted.

    Args:
        width: D.
        shrinkage: lambda, above 0; the larger, the less is changed.

    Attributes:
        centre: m, (D,).
        matrix: symmetric, (D, D).
    """

    centre: Tensor
    matrix: Tensor

    def __init__(self, width: int, shrinkage: float) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))

    def fit(self, normal: Tensor) -> None:
        """Learn centre and matrix.

        Args:
            normal: unit embeddings of normal places (n, D); fewer than `FEWEST_NORMAL`, or all
                alike: the identity stays.
        """
        found = whitening_of(normal, self.shrinkage) if len(normal) >= FEWEST_NORMAL else None
        if found is not None:
            self.centre.copy_(found[0])
            self.matrix.copy_(found[1])

    def forward(self, z: Tensor) -> Tensor:
        """Unit embeddings (n, D) -> unit embeddings (n, D)."""
        return F.normalize((z - self.centre) @ self.matrix, dim=-1)
