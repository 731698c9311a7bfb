"""AMG-ViT: crops and their anomaly values -> embeddings on the hypersphere.

The frozen part (all blocks but the last) and the trained tail are kept apart, so that training can
run on stored tokens and prediction uses the very same arithmetic.

Letters: B crops, S side of the window, P patches, C channels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.config import EmbeddingConfig, GuidanceConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray
from protoanomalyncd.vit.base import Backbone, SeveralGuidances, Tokens
from protoanomalyncd.vit.descriptor_block import DescriptorBlock
from protoanomalyncd.vit.guidance import attention_bias, pool_to_grid
from protoanomalyncd.vit.patch_part import PatchPart, patch_mean
from protoanomalyncd.vit.whitening import NormalWhitening
from protoanomalyncd.vit.whole_float32 import whole_float32

__all__ = ["GuidedEncoder", "anomaly_values", "centre_window", "guide_values"]


def anomaly_values(mask: MaskArray, amap: FloatArray, mask_only: bool = False) -> FloatArray:
    """What guides the class token: the anomaly map inside the region's mask counts fully.

    Ours: a = max(mask, map), so that the body of a region weighs the same whether its detector
    scored it high or just above the threshold, and weak context still counts by its score.

    Args:
        mask: binarised map (S, S).
        amap: normalised map in [0, 1], (S, S).
        mask_only: a = mask, as AnomalyNCD has it.

    Returns:
        (S, S), in [0, 1].
    """
    binary = mask.astype(np.float32)
    return binary if mask_only else np.maximum(binary, np.asarray(amap, np.float32))


def guide_values(
    mask: MaskArray, amap: FloatArray, on_object: MaskArray | None = None, mask_only: bool = False
) -> FloatArray:
    """All that guides the class token.

    Args:
        mask: binarised map (S, S).
        amap: normalised map in [0, 1], (S, S).
        on_object: object mask (S, S); None = everything is object.
        mask_only: see `anomaly_values`.

    Returns:
        Anomaly values (S, S); with an object mask anomaly and object values, (S, S, 2).
    """
    anomaly = anomaly_values(mask, amap, mask_only)
    if on_object is None:
        return anomaly
    return np.stack([anomaly, np.asarray(on_object, np.float32)], axis=-1)


def centre_window(crop: ImageArray | FloatArray, side: int) -> ImageArray | FloatArray:
    """The central ``side`` x ``side`` window of a square crop (S, S, ...)."""
    offset = (crop.shape[0] - side) // 2
    return crop[offset : offset + side, offset : offset + side]


class LearnedStrength(nn.Module):
    """A tail whose guidance strength is learned: M is multiplied by exp(s), s = 0 at the start.

    Ours: only trained blocks can learn their beta, since what frozen blocks make of it is stored.

    Args:
        tail: the trained last layers.
    """

    def __init__(self, tail: nn.Module) -> None:
        super().__init__()
        self.tail = tail
        self.log_strength = nn.Parameter(torch.zeros(()))

    def forward(self, cls: Tensor, patches: Tensor, bias: Tensor) -> Tensor:
        """(B, C), (B, P, C), (B, P) -> embeddings (B, C), not normalised."""
        out: Tensor = self.tail(cls, patches, self.log_strength.exp() * bias)
        return out


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
        tail = backbone.tail()
        self.tail = LearnedStrength(tail) if config.guidance.learn_beta else tail
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

    def tokens(
        self, images: Tensor, anomaly: Tensor, guidance: GuidanceConfig | None = None
    ) -> Tokens:
        """The frozen part.

        Args:
            images: RGB uint8 (B, S, S, 3).
            anomaly: anomaly values in [0, 1], (B, S, S); or anomaly and object values, as
                `guide_values` gives them, (B, S, S, 2).
            guidance: instead of the configured one.

        Returns:
            Input of the tail; no gradient.
        """
        guidance = guidance or self.config.guidance
        x = self.backbone.preprocess(images)
        stride = self.backbone.patch_size
        grid = (x.shape[-2] // stride, x.shape[-1] // stride)
        on_object = None
        if anomaly.ndim == 4:
            anomaly, on_object = anomaly[..., 0], pool_to_grid(anomaly[..., 1], grid)
        bias = attention_bias(pool_to_grid(anomaly, grid), on_object, guidance)
        half = self.config.precision == "bfloat16"
        with whole_float32(x.device), torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            return self.backbone.tokens(x, bias, guidance)

    def both_tokens(self, images: Tensor, anomaly: Tensor) -> tuple[Tokens, Tokens]:
        """The frozen part, the class token guided to the anomaly, and to all but the anomaly.

        Source: *ours*, a reading of the paper's "preserving normal features". The patches are the
        same in both.

        Args:
            images: RGB uint8 (B, S, S, 3).
            anomaly: anomaly values in [0, 1], (B, S, S).

        Raises:
            ConfigurationError: nothing is guided, or the backbone has one guidance only.
        """
        guidance = self.config.guidance
        if guidance.mode == "none" or not isinstance(self.backbone, SeveralGuidances):
            raise ConfigurationError(
                "prototypes.normal_part_weight: expected 0 where embedding.guidance.mode is none "
                f"or the backbone has no tokens_for; got {guidance.mode} and {self.backbone.name}"
            )
        x = self.backbone.preprocess(images)
        stride = self.backbone.patch_size
        grid = (x.shape[-2] // stride, x.shape[-1] // stride)
        biases = [
            attention_bias(pool_to_grid(values, grid), None, guidance)
            for values in (anomaly, 1 - anomaly)
        ]
        with whole_float32(x.device):
            anomalous, normal = self.backbone.tokens_for(x, biases, guidance)
        return anomalous, normal

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
    def look(
        self, images: Tensor, anomaly: Tensor, descriptors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """At least one crop -> unit embeddings (B, C) and frozen views, as `embed`."""
        rows = []
        for i in range(len(images)):
            tokens = self.tokens(images[i : i + 1], anomaly[i : i + 1])
            if descriptors is not None:
                tokens = replace(tokens, descriptors=descriptors[i : i + 1])
            rows.append((self(tokens), self.frozen_view(tokens)))
        embeddings, frozen = zip(*rows, strict=True)
        return torch.cat(embeddings), torch.cat(frozen)

    @torch.no_grad()
    def embed(
        self,
        images: Tensor,
        anomaly: Tensor,
        guidance: GuidanceConfig | None = None,
        descriptors: Tensor | None = None,
    ) -> Tensor:
        """Crops -> unit embeddings (B, C), one crop at a time.

        One at a time, because the last bits of a matrix product depend on the shape of the batch:
        an image must get the same class alone and among others.

        Args:
            images: RGB uint8 (B, S, S, 3).
            anomaly: anomaly values in [0, 1], (B, S, S).
            guidance: instead of the configured one.
            descriptors: of the regions (B, D); needed where they are part of the embedding.
        """
        rows = []
        for i in range(len(images)):
            tokens = self.tokens(images[i : i + 1], anomaly[i : i + 1], guidance)
            if descriptors is not None:
                tokens = replace(tokens, descriptors=descriptors[i : i + 1])
            rows.append(self(tokens))
        return torch.cat(rows) if rows else torch.zeros((0, self.embed_dim))
