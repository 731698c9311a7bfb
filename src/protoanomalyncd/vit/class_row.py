"""The class row of a ViT block: guided queries over patch tokens that do not look back.

Source: the guidance term M is AMG-ViT's, as its review states it (only the class
query is guided); hiding the class key from the patch queries is *ours*.  Because no
patch query sees the class token, one set of patch tokens serves every guidance of an
image: G class tokens per image are G cheap rows over the same keys and values.

Letters: B images, G guidances per image, P patches, C channels, h heads, d = C / h.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["class_row", "guided_block", "patch_rows"]


def _check(cls: Tensor, tokens: Tensor, bias: Tensor | None) -> None:
    """Raise one clear error when the shapes do not fit together."""
    if cls.ndim != 3 or tokens.ndim != 3 or cls.shape[0] != tokens.shape[0]:
        raise ValueError(
            "expected cls (B, G, C) and tokens (B, P, C), "
            f"got {tuple(cls.shape)} and {tuple(tokens.shape)}"
        )
    expected = (cls.shape[0], cls.shape[1], tokens.shape[1])
    if bias is not None and tuple(bias.shape) != expected:
        raise ValueError(f"expected bias (B, G, P) = {expected}, got {tuple(bias.shape)}")


def _split_heads(attn: Any, x: Tensor) -> Tensor:
    """(B, N, h*d) -> (B, h, N, d), contiguous: products of strided heads take twice as long."""
    heads = x.reshape(x.shape[0], x.shape[1], attn.num_heads, attn.head_dim)
    return heads.transpose(1, 2).contiguous()


def _class_attention(
    attn: Any, own: tuple[Tensor, Tensor, Tensor], k: Tensor, v: Tensor, bias: Tensor | None
) -> Tensor:
    """Attention of the class queries over their own key and the patch keys.

    Args:
        attn: timm attention module (for its scale).
        own: query, key and value of the class tokens, each (B, h, G, d).
        k: patch keys (B, h, P, d).
        v: patch values (B, h, P, d).
        bias: additive logits (B, G, P), or None.

    Returns:
        (B, G, h*d)
    """
    q, k_own, v_own = own
    q = q * attn.scale
    patch_logits = (q @ k.transpose(-2, -1)).float()
    if bias is not None:
        patch_logits = patch_logits + bias.float().unsqueeze(1)
    own_logits = (q * k_own).sum(-1, keepdim=True).float()
    weights = torch.cat([own_logits, patch_logits], dim=-1).softmax(dim=-1).to(v.dtype)
    out = weights[..., 1:] @ v + weights[..., :1] * v_own
    return out.transpose(1, 2).flatten(2)


def _patch_attention(attn: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention among patches, (B, h, P, d) -> (B, P, h*d).

    Written out: on CPUs in bfloat16 this took a fifth of the fused kernel's time at P = 256.
    """
    logits = (q * attn.scale) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.float() + mask.float()
    out: Tensor = logits.softmax(dim=-1).to(v.dtype) @ v
    return out.transpose(1, 2).flatten(2)


def _finish(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    """Projection, residuals and MLP of a block, row by row: (B, N, C) -> (B, N, C)."""
    x = x + block.drop_path1(
        block.ls1(block.attn.proj_drop(block.attn.proj(block.attn.norm(attended))))
    )
    out: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return out


def class_row(block: nn.Module, cls: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
    """The class tokens after a timm ``Block``, without computing the patch tokens.

    The queries are the class tokens only; keys and values are each class token's own
    and the patches'.  A class token's own key is always open, with bias 0.

    Args:
        block: timm ``vision_transformer.Block`` (no gate).
        cls: class tokens before the block (B, G, C), one per guidance.
        tokens: patch tokens before the block (B, P, C).
        bias: additive attention logits (B, G, P); -1e9 closes a patch; None: unguided.

    Returns:
        Class tokens after the block (B, G, C).
    """
    _check(cls, tokens, bias)
    module: Any = block
    attn = module.attn
    width = attn.num_heads * attn.head_dim
    q, k_own, v_own = attn.qkv(module.norm1(cls)).split(width, dim=-1)
    qkv_bias = attn.qkv.bias
    keys_values = F.linear(
        module.norm1(tokens),
        attn.qkv.weight[width:],
        None if qkv_bias is None else qkv_bias[width:],
    )
    k, v = keys_values.split(width, dim=-1)
    own = (
        attn.q_norm(_split_heads(attn, q)),
        attn.k_norm(_split_heads(attn, k_own)),
        _split_heads(attn, v_own),
    )
    attended = _class_attention(
        attn, own, attn.k_norm(_split_heads(attn, k)), _split_heads(attn, v), bias
    )
    return _finish(module, cls, attended)


def patch_rows(block: nn.Module, tokens: Tensor) -> Tensor:
    """Patch tokens (B, P, C) after a block, without a class token."""
    module: Any = block
    attn = module.attn
    width = attn.num_heads * attn.head_dim
    q, k, v = (
        _split_heads(attn, part) for part in attn.qkv(module.norm1(tokens)).split(width, dim=-1)
    )
    return _finish(module, tokens, _patch_attention(attn, attn.q_norm(q), attn.k_norm(k), v, None))


def guided_block(
    block: nn.Module,
    cls: Tensor,
    tokens: Tensor,
    bias: Tensor | None = None,
    patch_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Class rows and patch tokens after a block in one pass (see :func:`class_row`).

    Args:
        block: timm ``vision_transformer.Block`` (no gate).
        cls: class tokens (B, G, C).
        tokens: patch tokens (B, P, C); they attend to each other only.
        bias: additive logits of the class queries (B, G, P), or None.
        patch_mask: ``attn_mask`` among the patches, broadcastable to (B, h, P, P), or None.

    Returns:
        cls (B, G, C) and tokens (B, P, C) after the block.
    """
    _check(cls, tokens, bias)
    module: Any = block
    attn = module.attn
    n_guidances = cls.shape[1]
    width = attn.num_heads * attn.head_dim
    x = torch.cat([cls, tokens], dim=1)
    q, k, v = (_split_heads(attn, part) for part in attn.qkv(module.norm1(x)).split(width, dim=-1))
    q, k = attn.q_norm(q), attn.k_norm(k)
    own = (q[:, :, :n_guidances], k[:, :, :n_guidances], v[:, :, :n_guidances])
    q, k, v = q[:, :, n_guidances:], k[:, :, n_guidances:], v[:, :, n_guidances:]
    class_out = _class_attention(attn, own, k, v, bias)
    patch_out = _patch_attention(attn, q, k, v, patch_mask)
    x = _finish(module, x, torch.cat([class_out.to(patch_out.dtype), patch_out], dim=1))
    return x[:, :n_guidances], x[:, n_guidances:]
