"""Convolutional networks as backbones: their feature map is a set of patch tokens.

A convolutional network has no class token. Its last feature map (stride 16) is read by a guided
attention pooling (*ours*) that starts as the average of the features under softmax(M), and is
trained from there.

Letters: B images, P positions of the feature map, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.vit.base import Tokens
from protoanomalyncd.vit.timm_network import TimmNetwork

__all__ = ["AttentionPool", "CNNBackbone"]

_STRIDES = (8, 16)
_CHOSEN_HERE = {"features_only", "num_classes", "out_indices"}
"""Arguments of a folder that are left out: a feature extractor has its own."""


class AttentionPool(nn.Module):
    """One query that reads a feature map under the guidance.

    Args:
        dim: channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Query and residual start at zero: the pooling starts as the softmax(M)-weighted mean.
        self.query = nn.Parameter(torch.zeros(dim))
        self.key = nn.Linear(dim, dim)
        self.residual = nn.Linear(dim, dim)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)

    def forward(self, cls: Tensor, patches: Tensor, bias: Tensor) -> Tensor:
        """(B, C), (B, P, C), (B, P) -> embeddings (B, C), not normalised."""
        # q . (W x + b) as (q W) . x + q . b: one query is projected instead of all positions. It is
        # divided, not the product: OpenVINO fails on a product with a vector, scaled.
        query = self.query / patches.shape[-1] ** 0.5
        logits = patches @ (query @ self.key.weight) + query @ self.key.bias
        weights = (logits + bias).softmax(dim=1)
        pooled = torch.einsum("bp,bpc->bc", weights, patches)
        out: Tensor = pooled + self.residual(F.gelu(pooled))
        return out


class CNNBackbone(TimmNetwork):
    """A timm feature extractor with maps at strides 8 and 16.

    Args:
        model: (B, 3, H, W) -> feature maps at strides 8 and 16.
        width: channels of the last one.
        record: see `TimmNetwork`.
    """

    def __init__(self, model: nn.Module, width: int, record: dict[str, Any]) -> None:
        super().__init__(model, record)
        self.embed_dim = width
        self.patch_size = _STRIDES[-1]

    @classmethod
    def from_record(cls, record: dict[str, Any], source: str | None = None) -> CNNBackbone:
        """Build by timm name.

        Args:
            record: of `record`.
            source: where timm finds the weights; None: without pretrained weights.

        Raises:
            ConfigurationError: the network has no feature maps at strides 8 and 16.
        """
        import timm

        pretrained, source = source is not None, source or record["architecture"]
        given: dict[str, Any] = record.get("arguments", {})
        arguments = {name: value for name, value in given.items() if name not in _CHOSEN_HERE}
        probe = timm.create_model(
            record["architecture"], pretrained=False, features_only=True, **arguments
        )
        info: Any = probe.feature_info
        strides = info.reduction()
        if not set(_STRIDES) <= set(strides):
            raise ConfigurationError(
                f"backbone {record['name']!r}: expected feature maps at strides 8 and 16, "
                f"got strides {strides}"
            )
        indices = [strides.index(stride) for stride in _STRIDES]
        model: Any = timm.create_model(
            source, pretrained=pretrained, features_only=True, out_indices=indices, **arguments
        )
        return cls(model, model.feature_info.channels()[-1], record)

    @torch.no_grad()
    def patch_descriptors(self, x: Tensor) -> list[Tensor]:
        """Both feature maps, as they are."""
        return list(self._model(x))

    @torch.no_grad()
    def tokens(self, x: Tensor, bias: Tensor, guidance: GuidanceConfig) -> Tokens:
        """Feature map at stride 16 as unit tokens; their mean stands for the class token.

        Args:
            x: normalised images (B, 3, H, W).
            bias: logits M of the positions (B, P).
            guidance: not read: a convolution has no attention to guide before the pooling.
        """
        features = self._model(x)[-1].flatten(2).transpose(1, 2)
        features = F.normalize(features, dim=-1)
        return Tokens(features.mean(dim=1), features, bias)

    def tail(self) -> nn.Module:
        """A trainable attention pooling."""
        return AttentionPool(self.embed_dim)
