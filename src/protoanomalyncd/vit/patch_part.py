"""The region's patches beside its class token, on the same sphere (*ours*).

The class token says what training made of a region; the patches under the same guidance say what
its surface looks like, and no training changes them. Their mean, weighted as an attention with
equal keys would weigh them, becomes a unit vector p, taken relative to normal places as the class
token is, and the embedding becomes ::

    z' = [ sqrt(1 - w) z ; sqrt(w) p ],    z' . y' = (1 - w) z . y + w p . q

Letters: B crops, P patches, C their width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.vit.base import Tokens
from protoanomalyncd.vit.whitening import NormalWhitening

__all__ = ["PatchPart", "patch_mean"]


def patch_mean(tokens: Tokens) -> Tensor:
    """Mean of the patches weighted by softmax(M): unit rows (B, C)."""
    weights = torch.softmax(tokens.bias.float(), dim=1)
    mean = (weights.unsqueeze(1) @ tokens.patches.float()).squeeze(1)
    return F.normalize(mean, dim=-1)


class PatchPart(nn.Module):
    """Appends the patches to class tokens.

    Args:
        width: C.
        weight: w in (0, 1), share of the squared length that the patches have.
        shrinkage: lambda of their whitening; None = they are taken as they are.
    """

    def __init__(self, width: int, weight: float, shrinkage: float | None) -> None:
        super().__init__()
        self.width = width
        self.weight = weight
        self.whitening = None if shrinkage is None else NormalWhitening(width, shrinkage)

    def fit(self, normal: Tensor) -> None:
        """Learn the whitening from `patch_mean` of normal places (n, C)."""
        if self.whitening is not None:
            self.whitening.fit(normal)

    def forward(self, z: Tensor, tokens: Tokens) -> Tensor:
        """Unit embeddings (B, D) and tokens of the same crops -> unit embeddings (B, D + C)."""
        p = patch_mean(tokens)
        if self.whitening is not None:
            p = self.whitening(p)
        return torch.cat([math.sqrt(1 - self.weight) * z, math.sqrt(self.weight) * p], dim=-1)
