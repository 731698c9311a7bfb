"""timm vision transformers as backbones: AMG-ViT's guided class token.

Two ways to run the blocks, chosen by `GuidanceConfig.hide_class_key`:

* visible class key (as timm trains ViTs, and as AnomalyNCD guides them): patch queries see the
  class token, so patch tokens depend on the guidance;
* hidden class key (*ours*; the embedded backbone is trained so): patch queries do not see the
  class token, so patch tokens are the same whatever the guidance.

Both compute the class row and the patch rows apart: a mask for all rows of which one is non-zero
would take the fast attention kernel from the others.

Letters: B images, P patches, R register tokens, C channels, L blocks.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.vit.base import Tokens
from protoanomalyncd.vit.class_row import class_row, finish_block, guided_rows, split_heads
from protoanomalyncd.vit.cpu_kernels import fast_linear, fast_patches
from protoanomalyncd.vit.embedded import EMBEDDED
from protoanomalyncd.vit.timm_network import TimmNetwork

__all__ = ["ViTBackbone", "ViTTail"]

_WRITTEN_OUT = 1024
"""Tokens up to which all attention weights are held in memory."""


class ViTTail(nn.Module):
    """The last block, for the class token only, and the final norm; trained.

    Args:
        block: last block of the transformer (is copied).
        norm: final norm (is copied).
    """

    def __init__(self, block: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.block = copy.deepcopy(block)
        self.norm = copy.deepcopy(norm)

    def forward(self, cls: Tensor, patches: Tensor, bias: Tensor) -> Tensor:
        """(B, C), (B, P, C), (B, P) -> embeddings (B, C), not normalised."""
        out: Tensor = self.norm(class_row(self.block, cls.unsqueeze(1), patches, bias.unsqueeze(1)))
        return out[:, 0]


class ViTBackbone(TimmNetwork):
    """A timm ``VisionTransformer`` with a class token.

    Args:
        model: the network.
        record: see `TimmNetwork`; needs ``architecture`` too.
    """

    def __init__(self, model: nn.Module, record: dict[str, Any]) -> None:
        super().__init__(model, record)
        frozen = self._model
        self.embed_dim = int(frozen.embed_dim)
        self.patch_size = int(frozen.patch_embed.patch_size[0])
        self._class_key_hidden = record["architecture"] == EMBEDDED

    @classmethod
    def from_record(cls, record: dict[str, Any], source: str | None = None) -> ViTBackbone:
        """Build by timm name.

        Args:
            record: of `record`.
            source: where timm finds the weights; None: without pretrained weights.

        Raises:
            ConfigurationError: the network is no vision transformer with a class token.
        """
        import timm
        from timm.models.vision_transformer import VisionTransformer

        pretrained, source = source is not None, source or record["architecture"]
        arguments = record.get("arguments", {})
        ours = {"num_classes": 0, "dynamic_img_size": True}
        model = timm.create_model(source, pretrained=pretrained, **{**arguments, **ours})
        if not isinstance(model, VisionTransformer) or model.cls_token is None:
            raise ConfigurationError(
                f"backbone {record['name']!r}: expected a timm VisionTransformer with a class "
                f"token, got {type(model).__name__}"
            )
        # timm sizes the positions by the weights' own configuration, which restoring goes without.
        size = getattr(model.patch_embed, "img_size", None)
        if size is not None:
            record = {**record, "arguments": {**arguments, "img_size": list(size)}}
        return cls(model, record)

    @torch.no_grad()
    def patch_descriptors(self, x: Tensor) -> list[Tensor]:
        """Feature maps for patch memories.

        The embedded network offers its own; of any other, the tokens after a third, seven twelfths
        and five sixths of the blocks (4, 7 and 10 of 12), each L2-normalised.
        """
        if self.prenormalised:
            own: list[Tensor] = self._model.patch_descriptors(x)
            return own
        depth = len(self._model.blocks)
        layers = sorted({max(0, math.ceil(depth * share) - 1) for share in (1 / 3, 7 / 12, 5 / 6)})
        maps: list[Tensor] = self._model.forward_intermediates(
            x, indices=layers, intermediates_only=True
        )
        return [F.normalize(m, dim=1) for m in maps]

    @torch.no_grad()
    def tokens(self, x: Tensor, bias: Tensor, guidance: GuidanceConfig) -> Tokens:
        """Run all blocks but the last.

        Args:
            x: normalised images (B, 3, H, W).
            bias: logits M of the patches (B, P).
            guidance: `share_of_blocks` and `hide_class_key` are read here.

        Returns:
            Class tokens (B, C), register and patch tokens (B, R + P, C) and the last block's
            logits, registers with 0.
        """
        model = self._model
        patches = fast_patches(model.patch_embed, x)
        all_tokens = model.norm_pre(model.patch_drop(model._pos_embed(patches)))
        depth = len(model.blocks)
        first_guided = depth - max(1, round(guidance.share_of_blocks * depth))
        # The class token's own key and the registers stay open.
        row = F.pad(bias.float(), (int(model.num_prefix_tokens), 0))
        hidden = guidance.hide_class_key
        if hidden is None:
            hidden = self._class_key_hidden
        for number, block in enumerate(model.blocks[:-1]):
            logits = row if number >= first_guided else None
            if hidden:
                others = None if logits is None else logits[:, None, 1:]
                all_tokens = guided_rows(block, all_tokens, 1, others)
            elif logits is None and self._class_key_hidden:
                all_tokens = block(all_tokens)  # as it was trained
            else:
                all_tokens = _seeing_block(block, all_tokens, logits)
        return Tokens(all_tokens[:, 0], all_tokens[:, 1:], row[:, 1:])

    def tail(self) -> nn.Module:
        """A trainable copy of the last block and the final norm."""
        return ViTTail(self._model.blocks[-1], self._model.norm).requires_grad_(True)


def _seeing_block(block: Any, x: Tensor, bias: Tensor | None) -> Tensor:
    """A timm block whose patch queries see the class key, and whose class row may be guided.

    Equal to the block under a mask of which the class row alone is not zero.

    Args:
        block: timm ``vision_transformer.Block`` (no gate).
        x: class, register and patch tokens (B, 1 + R + P, C).
        bias: logits of the class query, (B, 1 + R + P), float32; None: unguided.
    """
    attn, n_tokens = block.attn, x.shape[1]
    q, k, v = split_heads(attn, fast_linear(attn.qkv, block.norm1(x)), 3)
    q, k = attn.q_norm(q), attn.k_norm(k)
    class_bias = None if bias is None else bias[:, None, None]
    if class_bias is None:
        attended = F.scaled_dot_product_attention(q, k, v)
    elif torch.compiler.is_compiling():
        # An engine joins products, mask and softmax into one kernel; a row apart hinders it.
        mask = F.pad(class_bias, (0, 0, 0, n_tokens - 1))
        logits = (q * attn.scale) @ k.transpose(-2, -1) + mask
        attended = logits.softmax(dim=-1).to(v.dtype) @ v
    elif x.device.type == "cpu" and n_tokens <= _WRITTEN_OUT:
        # On CPUs in bfloat16 this takes half of the fused kernel's time, in float32 the same.
        logits = ((q * attn.scale) @ k.transpose(-2, -1)).float()
        logits[:, :, :1] += class_bias
        attended = logits.softmax(dim=-1).to(v.dtype) @ v
    else:
        logits = (q[:, :, :1] * attn.scale) @ k.transpose(-2, -1)
        class_row = (logits.float() + class_bias).softmax(dim=-1).to(v.dtype) @ v
        others = F.scaled_dot_product_attention(q[:, :, 1:], k, v)
        attended = torch.cat([class_row, others], dim=2)
    return finish_block(block, x, attended.transpose(1, 2).flatten(2))
