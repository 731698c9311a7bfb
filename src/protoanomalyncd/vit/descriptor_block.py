"""Region descriptors beside the embedding, on the same sphere.

A crop is always scaled to one size, so the network cannot know how large or elongated its region
was (METHOD 2.10, *ours*). Its descriptors become a unit vector b, and the embedding becomes ::

    z' = [ sqrt(1 - w) z ; sqrt(w) b ],    z' . y' = (1 - w) z . y + w b . c

so that prototypes, k-means, outlier scores and the posterior work as before, on one sphere of a
few more dimensions. Each descriptor d_j is an angle: ::

    u_j = (d_j - centre_j) / scale_j,    b = [..., 1, u_j, ...] / sqrt(1 + u_j^2) / sqrt(D)

The cosine of two regions is then the mean over the descriptors of cos(arctan u_j - arctan v_j):
linear near the centre, bounded far from it, and no single descriptor can outweigh the others.
Regions without foreground (whole images in which nothing stood out) have a direction of their own.

Letters: n regions, D descriptors, C channels of the embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from protoanomalyncd.regions.descriptors import DESCRIPTORS, SMALLEST_LOG_AREA

__all__ = ["DescriptorBlock"]

SMALLEST_SCALES = {
    "log_area": 0.1,
    "extent": 0.05,
    "elongation": 0.05,
    "solidity": 0.05,
    "thickness": 0.01,
    "components": 0.5,
    "border": 0.125,
    "contrast": 0.01,
    "colourfulness": 0.01,
    "roughness": 0.01,
    "roughness_ratio": 0.05,
}
"""What two regions of one kind may differ by: a set that varies less is not stretched further."""
QUARTILES_OF_A_SIGMA = 1.349
"""Distance of the quartiles of a normal distribution, in standard deviations."""


class DescriptorBlock(nn.Module):
    """Appends descriptors to embeddings.

    Args:
        weight: w in (0, 1), share of the squared length that the descriptors have.

    Attributes:
        centre: median of each descriptor over the fitted regions, (D,).
        scale: its spread, (D,).
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("centre", torch.zeros(len(DESCRIPTORS)))
        self.register_buffer("scale", torch.ones(len(DESCRIPTORS)))

    @property
    def width(self) -> int:
        """Entries that are appended."""
        return 2 * len(DESCRIPTORS) + 1

    def fit(self, descriptors: Tensor) -> None:
        """Learn centre and spread: median and quartiles, over the regions with a foreground.

        Where more than half of the regions share a value, the quartiles say nothing and the
        standard deviation stands in.

        Args:
            descriptors: of the unlabelled regions (n, D), in any order.
        """
        kept = descriptors[~_empty(descriptors)].double()
        floor = torch.tensor([SMALLEST_SCALES[name] for name in DESCRIPTORS], dtype=torch.float64)
        centre, scale = torch.zeros_like(floor), floor
        if len(kept):
            levels = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
            low, centre, high = torch.quantile(kept, levels, dim=0)
            spread = (high - low) / QUARTILES_OF_A_SIGMA
            spread = torch.where(spread > 0, spread, kept.std(dim=0, correction=0))
            scale = torch.maximum(spread, floor)
        self.centre.copy_(centre)
        self.scale.copy_(scale)

    def block(self, descriptors: Tensor) -> Tensor:
        """Descriptors (n, D) -> unit vectors b (n, 2 D + 1)."""
        u = (descriptors - self.centre) / self.scale
        length = (1 + u.square()).sqrt() * math.sqrt(u.shape[1])
        own = _empty(descriptors)[:, None]
        angles = torch.cat([1 / length, u / length], dim=1).masked_fill(own, 0)
        return torch.cat([angles, own.to(angles.dtype)], dim=1)

    def forward(self, z: Tensor, descriptors: Tensor | None) -> Tensor:
        """Unit embeddings (n, C) and descriptors (n, D) -> unit embeddings (n, C + 2 D + 1).

        Raises:
            ValueError: there are no descriptors.
        """
        if descriptors is None:
            raise ValueError("expected the descriptors of each region beside its crop, got none")
        b = self.block(descriptors.to(z))
        return torch.cat([math.sqrt(1 - self.weight) * z, math.sqrt(self.weight) * b], dim=-1)


def _empty(descriptors: Tensor) -> Tensor:
    """Regions without foreground (n, D) -> (n,)."""
    return descriptors[:, DESCRIPTORS.index("log_area")] <= SMALLEST_LOG_AREA
