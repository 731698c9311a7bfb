"""The embedded backbone: a small guided ViT on a convolutional stem (*ours*).

A network of our own design, trained from random initialisation by distillation of
several teachers on image crops (see ``research/pretraining/``).  It is registered with timm as
``protoanomalyncd_embedded``; the weights ship in ``weights/`` beside this file.

    image --stem 7x7/2, pool--> 64 @ stride 4 --1 basic block--> s4
          --2 basic blocks--> 128 @ stride 8 = s8 --conv 3x3/2--> 256 @ stride 16
          + position embedding --> 6 transformer blocks, class row on top

Patch tokens never attend to the class token, so they are computed once per image and
serve any number of guidances (:mod:`protoanomalyncd.vit.class_row`).

Letters: B images, G guidances, P patches (row-major grid of ceil(H/16) x ceil(W/16)).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from .class_row import class_row, guided_rows, patch_rows
from .cpu_kernels import fast_conv, fast_linear

__all__ = [
    "EMBEDDED",
    "WEIGHTS_DIR",
    "ClassBlindBlock",
    "ConvStem",
    "EmbeddedViT",
    "protoanomalyncd_embedded",
]

EMBEDDED = "protoanomalyncd_embedded"
"""The network's name in timm."""
WEIGHTS_DIR = Path(__file__).parent / "weights"
STEM_WIDTHS = (64, 128)
DESCRIPTOR_WEIGHTS = (0.35, 0.35, 1.0)
"""Lengths of the descriptors of stride 8, the middle and the last tokens."""
MIDDLE_BLOCK = 3
"""Number of transformer blocks before the middle tokens are read."""


class _ConvNorm(nn.Sequential):
    """Convolution, batch-normalised in training, folded into a biased convolution at export."""

    def __init__(self, in_chans: int, out_chans: int, kernel: int, stride: int, norm: bool) -> None:
        conv = nn.Conv2d(in_chans, out_chans, kernel, stride, kernel // 2, bias=not norm)
        super().__init__(conv, nn.BatchNorm2d(out_chans)) if norm else super().__init__(conv)

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, D, H/s, W/s), plus ``residual``, rectified if ``relu``."""
        conv: Any = self[0]
        if len(self) == 1:
            return fast_conv(conv, x, relu, residual)
        out: Tensor = self[1](conv(x))
        out = out if residual is None else out + residual
        return F.relu(out, inplace=True) if relu else out


class _BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions: (B, C, H, W) -> (B, D, H/s, W/s)."""

    def __init__(self, in_chans: int, out_chans: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(in_chans, out_chans, 3, stride, norm)
        self.conv2 = _ConvNorm(out_chans, out_chans, 3, 1, norm)
        same = stride == 1 and in_chans == out_chans
        self.shortcut = nn.Identity() if same else _ConvNorm(in_chans, out_chans, 1, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H/s, W/s)."""
        y = self.conv1(x, relu=True)
        out: Tensor = self.conv2(y, relu=True, residual=self.shortcut(x))
        return out


class ConvStem(nn.Module):
    """Patch embedding with overlapping convolutions, in timm's ``embed_layer`` form.

    Args:
        img_size: size for which the position embedding is made, pixels.
        patch_size: stride of the patch grid; only 16.
        in_chans: image channels.
        embed_dim: channels of a patch token.
        norm: batch normalisation (training) or biased convolutions (export).
        **_: further arguments of timm's ``PatchEmbed``, which do not apply.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 256,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 256,
        norm: bool = False,
        **_: Any,
    ) -> None:
        super().__init__()
        if patch_size != 16:
            raise ValueError(f"the stem has a stride of 16 pixels, got patch_size={patch_size}")
        size = (img_size, img_size) if isinstance(img_size, int) else (img_size[0], img_size[1])
        self.img_size = size
        self.patch_size = (patch_size, patch_size)
        self.grid_size = self.dynamic_feat_size(size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        c4, c8 = STEM_WIDTHS
        self.conv1 = _ConvNorm(in_chans, c4, 7, 2, norm)
        self.stage4 = _BasicBlock(c4, c4, 1, norm)
        self.stage8 = nn.Sequential(_BasicBlock(c4, c8, 2, norm), _BasicBlock(c8, c8, 1, norm))
        self.proj = nn.Conv2d(c8, embed_dim, 3, 2, 1)

    def feat_ratio(self) -> int:
        """Stride of the patch grid in pixels."""
        return self.patch_size[0]

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """Patch grid (rows, columns) of an image of ``img_size`` (height, width) pixels."""
        return -(-img_size[0] // self.patch_size[0]), -(-img_size[1] // self.patch_size[1])

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps at strides 4, 8 and 16 of (B, 3, H, W); edges padded to 16 pixels."""
        pad_h, pad_w = -x.shape[-2] % 16, -x.shape[-1] % 16
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), mode="replicate")
        x = F.max_pool2d(self.conv1(x, relu=True), 3, 2, 1)
        s4 = self.stage4(x)
        s8 = self.stage8(s4)
        return s4, s8, fast_conv(self.proj, s8)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, ceil(H/16), ceil(W/16), C)."""
        return self.stages(x)[2].permute(0, 2, 3, 1)


class ClassBlindBlock(Block):
    """timm block in which patch queries do not see the class key (*ours*)."""

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """(B, 1+P, C) -> (B, 1+P, C).

        Args:
            x: class token and patch tokens.
            attn_mask: additive mask broadcastable to (B, 1, 1+P, 1+P).  Of its class
                row the patch columns are used; of its patch rows too; the class column
                is closed to patches and open to the class token whatever it says.
            is_causal: not supported, must be False.
        """
        if is_causal:
            raise ValueError("the embedded backbone has no causal attention")
        bias = patch_mask = None
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                attn_mask = torch.zeros_like(attn_mask, dtype=x.dtype).masked_fill(~attn_mask, -1e9)
            full = attn_mask.expand(x.shape[0], 1, x.shape[1], x.shape[1])
            bias, patch_mask = full[:, 0, :1, 1:], full[:, :, 1:, 1:].to(x.dtype)
        return guided_rows(self, x, 1, bias, patch_mask)


class EmbeddedViT(VisionTransformer):
    """The embedded guided ViT.

    An ordinary timm ``VisionTransformer`` to its caller (``forward_features``,
    ``forward_intermediates``, ``blocks`` accept an ``attn_mask``), with patch
    descriptors; several guidances in one pass: `research.common.pyramid`.

    Args:
        stem_norm: batch normalisation in the stem: True in training, False in the export.
        **kwargs: arguments of timm's ``VisionTransformer``.
    """

    def __init__(self, stem_norm: bool = False, **kwargs: Any) -> None:
        def stem(**arguments: Any) -> ConvStem:
            return ConvStem(norm=stem_norm, **arguments)

        super().__init__(embed_layer=stem, block_fn=ClassBlindBlock, **kwargs)
        c8, width = STEM_WIDTHS[1], self.embed_dim
        self.descriptor8 = nn.Linear(c8, c8 + 1)
        self.descriptor16_middle = nn.Linear(width, width + 1)
        self.descriptor16_last = nn.Linear(width, width + 1)
        # For studies of clustering (research/benchmarks); the weights' file holds them.
        self.pooling8 = nn.Linear(c8, c8 + 1)
        self.pooling16_middle = nn.Linear(width, width + 1)
        self.pooling16_last = nn.Linear(width, width + 1)

    def tokens_before_blocks(self, stride16: Tensor) -> Tensor:
        """Feature map at stride 16 (B, C, h, w) -> patch tokens with positions (B, P, C)."""
        return self._pos_embed(stride16.permute(0, 2, 3, 1))[:, self.num_prefix_tokens :]

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Forward as timm's; where only the class token is asked for, the last block is its row.

        Args:
            x: normalised images (B, 3, H, W).
            attn_mask: as for :class:`ClassBlindBlock`.
            is_causal: not supported, must be False.

        Returns:
            Class token (B, C), or what timm's head makes of the tokens.
        """
        if self.training or attn_mask is not None or is_causal or self.global_pool != "token":
            whole: Tensor = super().forward(x, attn_mask=attn_mask, is_causal=is_causal)
            return whole
        tokens = self.tokens_before_blocks(self.patch_embed.stages(x)[2])
        if self.cls_token is None:
            raise ValueError("expected a network with a class token, got class_token=False")
        own = self.cls_token.expand(len(tokens), 1, -1).to(tokens.dtype)
        rows = torch.cat([own, tokens], dim=1)
        for block in self.blocks[:-1]:
            rows = guided_rows(block, rows, 1)
        cls = class_row(self.blocks[-1], rows[:, :1], rows[:, 1:])
        out: Tensor = self.forward_head(self.norm(cls))
        return out

    def patch_descriptors(self, x: Tensor) -> list[Tensor]:
        """Descriptors of patches for nearest-neighbour search.

        Each of the three layers (stride 8, middle and last tokens) has length one, times
        its weight: the distances of a layer are the angles between the teachers' features
        as this network predicts them.  A linear prediction W z + b has the same inner
        products as R [z; 1] with [W | b] = Q R, so a small R replaces the wide heads
        (*ours*; lengths and weights chosen on generated defects).

        Args:
            x: normalised images (B, 3, H, W).

        Returns:
            (B, 129, H/8, W/8) and (B, 514, H/16, W/16).
        """
        _, s8, stride16 = self.patch_embed.stages(x)
        tokens = self.tokens_before_blocks(stride16)
        middle = tokens
        for number, block in enumerate(self.blocks, start=1):
            tokens = patch_rows(block, tokens)
            if number == MIDDLE_BLOCK:
                middle = tokens
        weight8, weight_middle, weight_last = DESCRIPTOR_WEIGHTS
        middle = fast_linear(self.descriptor16_middle, F.layer_norm(middle, middle.shape[-1:]))
        last = fast_linear(self.descriptor16_last, self.norm(tokens))
        maps16 = torch.cat(
            [
                weight_middle * F.normalize(middle, dim=-1),
                weight_last * F.normalize(last, dim=-1),
            ],
            dim=-1,
        )
        grid = stride16.shape[-2:]
        descriptors8 = fast_linear(self.descriptor8, s8.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        descriptors8 = weight8 * F.normalize(descriptors8, dim=1)
        return [descriptors8, maps16.transpose(1, 2).unflatten(2, (grid[0], grid[1]))]


default_cfgs = generate_default_cfgs(
    {
        "protoanomalyncd_embedded": {
            "file": str(WEIGHTS_DIR / "model.safetensors"),
            "num_classes": 0,
            "input_size": (3, 256, 256),
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "patch_embed.conv1.0",
            "classifier": None,
            "license": "apache-2.0",
        }
    }
)


@register_model
def protoanomalyncd_embedded(pretrained: bool = False, **kwargs: Any) -> EmbeddedViT:
    """The embedded backbone: 256 wide, 6 blocks, stride 16, any input size."""
    arguments: dict[str, Any] = {
        "img_size": 256,
        "patch_size": 16,
        "embed_dim": 256,
        "depth": 6,
        "num_heads": 4,
        "mlp_ratio": 2.0,
        "num_classes": 0,
        "no_embed_class": True,
        "dynamic_img_size": True,
    }
    arguments.update(kwargs)
    model: EmbeddedViT = build_model_with_cfg(
        EmbeddedViT, "protoanomalyncd_embedded", pretrained, **arguments
    )
    return model
