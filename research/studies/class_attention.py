"""Where the class token looks: its attention in the trained last block.

For people only; nothing is computed from it. Letters: B images, P patches, R register tokens, C
channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from protoanomalyncd.vit.amg_vit import GuidedEncoder
from protoanomalyncd.vit.base import Tokens
from protoanomalyncd.vit.timm_vit import ViTTail

__all__ = ["class_attention"]


@torch.no_grad()
def class_attention(encoder: GuidedEncoder, tokens: Tokens) -> Tensor | None:
    """Attention of the class token over the patches, mean of the heads.

    Args:
        encoder: its tail is asked.
        tokens: input of the tail.

    Returns:
        (B, R + P): what is missing to 1 is the class token's attention to itself. None where the
        tail is no transformer block.
    """
    tail: Any = encoder.tail
    if not isinstance(tail, ViTTail):
        return None
    block: Any = tail.block
    attn = block.attn
    x = block.norm1(torch.cat([tokens.cls.float().unsqueeze(1), tokens.patches.float()], dim=1))
    n_images, n_tokens, _ = x.shape
    parts = attn.qkv(x).reshape(n_images, n_tokens, 3, attn.num_heads, attn.head_dim)
    q, k, _ = parts.permute(2, 0, 3, 1, 4)
    q, k = attn.q_norm(q[:, :, :1]), attn.k_norm(k)
    logits = (q * attn.scale @ k.transpose(-2, -1))[:, :, 0]
    logits = logits + torch.nn.functional.pad(tokens.bias.float(), (1, 0)).unsqueeze(1)
    weights: Tensor = logits.softmax(dim=-1).mean(dim=1)[:, 1:]
    return weights
