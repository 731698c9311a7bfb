"""AMG-ViT: crops and their anomaly values -> embeddings on the hypersphere.

The frozen part (all blocks but the last) and the trained tail are kept apart, so that training can
run on stored tokens and prediction uses the very same arithmetic.

Letters: B crops, S side of the window, P patches, C channels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.config import EmbeddingConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import FloatArray, MaskArray
from protoanomalyncd.regions import guide_values
from protoanomalyncd.vit.base import Backbone, Tokens
from protoanomalyncd.vit.descriptor_block import DescriptorBlock
from protoanomalyncd.vit.guidance import attention_bias, pool_to_grid
from protoanomalyncd.vit.patch_part import PatchPart, patch_mean
from protoanomalyncd.vit.whitening import NormalWhitening
from protoanomalyncd.vit.whole_float32 import whole_float32

__all__ = ["GuidedEncoder"]


class GuidedEncoder(nn.Module):
    """A frozen backbone with its trained, guided tail.

    Args:
        backbone: the network.
        config: window size and guidance.

    Raises:
        ConfigurationError: the window is no multiple of the backbone's stride.
    """

    def __init__(self, backbone: Backbone, config: EmbeddingConfig) -> None:
        super().__init__()
        if config.input_size % backbone.patch_size:
            raise ConfigurationError(
                f"embedding.input_size: expected a multiple of the backbone's stride "
                f"{backbone.patch_size}, "
                f"got {config.input_size}"
            )
        self.backbone = backbone
        self.frozen = backbone.module()
        self.tail = backbone.tail()
        shrinkage = config.whitening
        self.whitening = (
            None if shrinkage is None else NormalWhitening(backbone.embed_dim, shrinkage)
        )
        share, weight = config.patch_weight, config.descriptor_weight
        self.patches = PatchPart(backbone.embed_dim, share, shrinkage) if share > 0 else None
        self.descriptors = DescriptorBlock(weight) if weight > 0 else None
        self.config = config

    @property
    def embed_dim(self) -> int:
        """Width C of an embedding, the shares of patches and descriptors included."""
        return self.backbone.embed_dim + self.n_fixed

    @property
    def n_fixed(self) -> int:
        """Last entries of an embedding that no training changes: patches and descriptors."""
        parts = (self.patches, self.descriptors)
        return sum(part.width for part in parts if part is not None)

    @property
    def frozen_dim(self) -> int:
        """Width of a frozen view: class token and mean of the patches."""
        return 2 * self.backbone.embed_dim

    def guide_values(
        self, mask: MaskArray, amap: FloatArray, on_object: MaskArray | None = None
    ) -> FloatArray:
        """What guides the class token in one crop: `regions.guide_values`."""
        return guide_values(mask, amap, on_object)

    def attention_bias(self, anomaly: Tensor, on_object: Tensor | None) -> Tensor:
        """Logits M of pooled anomaly and object values (B, P): `guidance.attention_bias`."""
        return attention_bias(anomaly, on_object, self.config.guidance)

    def tokens(self, images: Tensor, values: Tensor) -> Tokens:
        """The frozen part.

        Args:
            images: RGB uint8 (B, S, S, 3).
            values: what guides: anomaly values in [0, 1], (B, S, S); or anomaly and object values,
                (B, S, S, 2); see `guide_values`.

        Returns:
            Input of the tail; no gradient.
        """
        x = self.backbone.preprocess(images)
        stride = self.backbone.patch_size
        grid = (x.shape[-2] // stride, x.shape[-1] // stride)
        on_object = None
        if values.ndim == 4:
            values, on_object = values[..., 0], pool_to_grid(values[..., 1], grid)
        bias = self.attention_bias(pool_to_grid(values, grid), on_object)
        half = self.config.precision == "bfloat16"
        with whole_float32(x.device), torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            return self.backbone.tokens(x, bias, self.config.guidance)

    def forward(self, tokens: Tokens) -> Tensor:
        """The trained tail, whitened; patches and descriptors beside it -> unit rows (B, C)."""
        z = self.class_token(tokens)
        if self.whitening is not None:
            z = self.whitening(z)
        if self.patches is not None:
            z = self.patches(z, tokens)
        if self.descriptors is None:
            return z
        fused: Tensor = self.descriptors(z, tokens.descriptors)
        return fused

    def class_token(self, tokens: Tokens) -> Tensor:
        """The trained tail alone: `Tokens` -> unit class tokens (B, `Backbone.embed_dim`)."""
        cls = self.tail(tokens.cls.float(), tokens.patches.float(), tokens.bias.float())
        return F.normalize(cls, dim=-1)

    @staticmethod
    def frozen_view(tokens: Tokens) -> Tensor:
        """What the frozen part alone sees in crops, before the trained tail.

        *Ours*: the class token beside the mean of the patch tokens (`patch_part.patch_mean`).
        Training cannot make new things in it look known.

        Args:
            tokens: of B crops.

        Returns:
            Unit rows (B, `frozen_dim`).
        """
        parts = [F.normalize(tokens.cls.float(), dim=-1), patch_mean(tokens)]
        return F.normalize(torch.cat(parts, dim=-1), dim=-1)

    @staticmethod
    def patches_of(frozen: Tensor) -> Tensor:
        """The patches in frozen views (B, `frozen_dim`): unit rows (B, `Backbone.embed_dim`)."""
        return F.normalize(frozen[:, frozen.shape[1] // 2 :], dim=-1)

    @torch.no_grad()
    def features(
        self, images: Tensor, values: Tensor, descriptors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Crops -> unit embeddings (B, C) and frozen views (B, `frozen_dim`), one crop at a time.

        One at a time, because the last bits of a matrix product depend on the shape of the batch:
        an image must get the same class alone and among others.

        Args:
            images: RGB uint8 (B, S, S, 3).
            values: what guides, as in `tokens`.
            descriptors: of the regions (B, D); needed where they are part of the embedding.
        """
        embeddings = [torch.zeros((0, self.embed_dim), device=images.device)]
        frozen = [torch.zeros((0, self.frozen_dim), device=images.device)]
        for i in range(len(images)):
            tokens = self.tokens(images[i : i + 1], values[i : i + 1])
            if descriptors is not None:
                tokens = replace(tokens, descriptors=descriptors[i : i + 1])
            embeddings.append(self(tokens))
            frozen.append(self.frozen_view(tokens))
        return torch.cat(embeddings), torch.cat(frozen)

    def embed(self, images: Tensor, values: Tensor, descriptors: Tensor | None = None) -> Tensor:
        """The embeddings of `features` alone, (B, C)."""
        return self.features(images, values, descriptors)[0]
