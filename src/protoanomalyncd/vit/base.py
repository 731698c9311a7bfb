"""The seam to networks: what the method asks of a backbone.

Letters: B images, P tokens that the class token looks at, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from protoanomalyncd.config import GuidanceConfig

__all__ = ["Backbone", "Tokens"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What enters the trained tail of a network.

    Args:
        cls: class tokens (B, C).
        patches: tokens whose keys and values the class token reads, (B, P, C).
        bias: attention logits M of those tokens, (B, P).
        descriptors: of the regions (B, D), where they are part of the embedding.
    """

    cls: Tensor
    patches: Tensor
    bias: Tensor
    descriptors: Tensor | None = None

    def to(self, device: torch.device) -> Tokens:
        """The same on a device."""
        described = None if self.descriptors is None else self.descriptors.to(device)
        return Tokens(self.cls.to(device), self.patches.to(device), self.bias.to(device), described)


class Backbone(Protocol):
    """A frozen network with a trainable tail.

    Attributes:
        name: how the user called it.
        embed_dim: width C of the embedding.
        patch_size: stride of the token grid [px].
        prenormalised: the layers of `patch_descriptors` come with the lengths to compare them by;
            else each descriptor is brought to length one.
    """

    name: str
    embed_dim: int
    patch_size: int
    prenormalised: bool

    def preprocess(self, images: Tensor) -> Tensor:
        """RGB uint8 (B, H, W, 3) -> normalised float (B, 3, H, W)."""

    def patch_descriptors(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> feature maps [(B, D_i, h_i, w_i)], finest first, for patch memories."""

    def tokens(self, x: Tensor, bias: Tensor, guidance: GuidanceConfig) -> Tokens:
        """(B, 3, H, W) and logits (B, H/p * W/p) -> input of the tail; no gradient."""

    def tail(self) -> nn.Module:
        """A trainable copy of the last layers: (cls, patches, bias) -> embeddings (B, C)."""

    def record(self) -> dict[str, Any]:
        """JSON-able description from which `restore_backbone` builds the same architecture."""

    def module(self) -> nn.Module:
        """The frozen network, to save and to move between devices."""
