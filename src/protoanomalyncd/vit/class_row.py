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

from .cpu_kernels import fast_linear, fast_mlp

__all__ = ["class_row", "finish_block", "guided_rows", "patch_rows", "split_heads"]


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


def split_heads(attn: Any, x: Tensor, parts: int) -> tuple[Tensor, ...]:
    """(B, N, parts * h * d) -> ``parts`` of (B, h, N, d), contiguous.

    One copy for all parts: products of strided heads take twice as long.
    """
    shape = (x.shape[0], x.shape[1], parts, attn.num_heads, attn.head_dim)
    return x.reshape(shape).permute(2, 0, 3, 1, 4).contiguous().unbind(0)


def _class_attention(attn: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of the class queries, each over its own key and the patch keys.

    Args:
        attn: timm attention module (for its scale).
        q: class queries (B, h, G, d).
        k: class and patch keys (B, h, G + P, d).
        v: class and patch values (B, h, G + P, d).
        bias: additive logits (B, G, P), or None.

    Returns:
        (B, h, G, d)
    """
    n_guidances = q.shape[2]
    logits = ((q * attn.scale) @ k.transpose(-2, -1)).float()
    if n_guidances > 1:
        others = ~torch.eye(n_guidances, dtype=torch.bool, device=q.device)
        logits[..., :n_guidances].masked_fill_(others, float("-inf"))
    if bias is not None:
        logits[..., n_guidances:] += bias.float().unsqueeze(1)
    out: Tensor = logits.softmax(dim=-1).to(v.dtype) @ v
    return out


def _written_out(q: Tensor) -> bool:
    """Whether attention is written out rather than left to the fused kernel.

    In bfloat16 on CPUs it took half of the fused kernel's time at P = 256; in float32 the fused
    kernel took a third of the written.
    """
    return q.dtype == torch.bfloat16 and q.device.type == "cpu"


def _one_class_attention(attn: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """One class token and the patches in one product, the class key closed to patches.

    Args:
        attn: timm attention module (for its scale).
        q: queries of the class token and the patches (B, h, 1 + P, d).
        k: keys.
        v: values.
        bias: additive logits of the class query (B, 1, P), or None.

    Returns:
        (B, h, 1 + P, d)
    """
    logits = (q * attn.scale) @ k.transpose(-2, -1)
    logits[:, :, 1:, :1] = float("-inf")
    if bias is not None:
        logits[:, :, :1, 1:] += bias.unsqueeze(1).to(logits.dtype)
    out: Tensor = logits.softmax(dim=-1) @ v
    return out


def _patch_attention(attn: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention among patches, (B, h, P, d) -> (B, h, P, d).

    Args:
        attn: timm attention module (for its scale).
        q: queries.
        k: keys.
        v: values.
        mask: additive mask broadcastable to (B, h, P, P), or None.
    """
    if not _written_out(q):
        mask = None if mask is None else mask.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attn.scale)
    logits = (q * attn.scale) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.float() + mask.float()
    out: Tensor = logits.softmax(dim=-1).to(v.dtype) @ v
    return out


def finish_block(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    """Projection, residuals and MLP of a block, row by row: (B, N, C) -> (B, N, C)."""
    attn = block.attn
    projected = attn.proj_drop(fast_linear(attn.proj, attn.norm(attended)))
    x = x + block.drop_path1(block.ls1(projected))
    out: Tensor = x + block.drop_path2(block.ls2(fast_mlp(block.mlp, block.norm2(x))))
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
    q, own_k, own_v = split_heads(attn, fast_linear(attn.qkv, module.norm1(cls)), 3)
    q = attn.q_norm(q) * attn.scale
    own = (q * attn.k_norm(own_k)).sum(dim=-1, keepdim=True)
    x, gain, shift = _normalised(module.norm1, tokens)
    keys, values = (_projection(attn, number, gain, shift) for number in (1, 2))
    logits = torch.cat([own, _patch_logits(attn, q, x, *keys)], dim=-1).float()
    if bias is not None:
        logits[..., 1:] += bias.float().unsqueeze(1)
    weights = logits.softmax(dim=-1).to(own_v.dtype)
    attended = weights[..., :1] * own_v + _patch_values(weights[..., 1:], x, *values)
    return finish_block(module, cls, attended.transpose(1, 2).flatten(2))


def _normalised(norm: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalised tokens, and the gain and shift (C,) that are still to come.

    Left out of them, no gradient has to pass all patches.
    """
    if isinstance(norm, nn.LayerNorm):
        return F.layer_norm(tokens, norm.normalized_shape, eps=norm.eps), norm.weight, norm.bias
    return norm(tokens), None, None


def _projection(
    attn: Any, number: int, gain: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What makes keys (number 1) or values (2) of tokens that gain and shift are still to come to.

    Returns:
        Weight (h, d, C) and bias (h, 1, d).
    """
    width = attn.num_heads * attn.head_dim
    rows = slice(number * width, (number + 1) * width)
    weight: Tensor = attn.qkv.weight[rows]
    bias = weight.new_zeros(width) if attn.qkv.bias is None else attn.qkv.bias[rows]
    if shift is not None:
        bias = bias + weight @ shift
    if gain is not None:
        weight = weight * gain
    return weight.view(attn.num_heads, attn.head_dim, -1), bias.view(attn.num_heads, 1, -1)


def _patch_logits(attn: Any, q: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Products of class queries with the keys of patches.

    q . (W x + b) is taken as (q W) . x + q . b: few queries are projected instead of all
    patches, and a training step takes a ninth of the time.  Where keys are normalised
    after their projection that cannot be done.

    Args:
        attn: timm attention module.
        q: scaled queries (B, h, G, d).
        x: normalised patches (B, P, C).
        weight: of the keys (h, d, C).
        bias: of the keys (h, 1, d).

    Returns:
        (B, h, G, P)
    """
    n, heads, guidances, _ = q.shape
    if not isinstance(attn.k_norm, nn.Identity):
        (keys,) = split_heads(attn, F.linear(x, weight.flatten(0, 1), bias.flatten()), 1)
        normalised: Tensor = attn.k_norm(keys)
        return q @ normalised.transpose(-2, -1)
    logits = _per_head(q, weight).reshape(n, heads * guidances, -1) @ x.transpose(1, 2)
    return logits.view(n, heads, guidances, -1) + (q * bias).sum(dim=-1, keepdim=True)


def _patch_values(attention: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What class queries read from patches: the mean of the values is the projected mean.

    Args:
        attention: (B, h, G, P).
        x: normalised patches (B, P, C).
        weight: of the values (h, d, C).
        bias: of the values (h, 1, d).

    Returns:
        (B, h, G, d)
    """
    n, heads, guidances, _ = attention.shape
    mean = (attention.reshape(n, heads * guidances, -1) @ x).view(n, heads, guidances, -1)
    values = _per_head(mean, weight.transpose(1, 2))
    return values + attention.sum(dim=-1, keepdim=True) * bias


def _per_head(rows: Tensor, weight: Tensor) -> Tensor:
    """(B, h, G, a) times (h, a, b), each head's rows by its own matrix -> (B, h, G, b).

    One product a head: broadcasting would copy the matrices for every image.
    """
    n, heads, guidances, _ = rows.shape
    together = rows.transpose(0, 1).reshape(heads, n * guidances, -1) @ weight
    return together.view(heads, n, guidances, -1).transpose(0, 1)


def patch_rows(block: nn.Module, tokens: Tensor) -> Tensor:
    """Patch tokens (B, P, C) after a block, without a class token."""
    return guided_rows(block, tokens, 0)


def guided_rows(
    block: nn.Module,
    x: Tensor,
    n_guidances: int,
    bias: Tensor | None = None,
    patch_mask: Tensor | None = None,
) -> Tensor:
    """Class rows and patch rows of a block in one pass (see :func:`class_row`).

    Args:
        block: timm ``vision_transformer.Block`` (no gate).
        x: G class tokens, then P patch tokens, (B, G + P, C); patches attend to each other only.
        n_guidances: G; 0: no class token.
        bias: additive logits of the class queries (B, G, P), or None.
        patch_mask: ``attn_mask`` among the patches, broadcastable to (B, h, P, P), or None.

    Returns:
        (B, G + P, C)
    """
    _check(x[:, :n_guidances], x[:, n_guidances:], bias)
    module: Any = block
    attn, g = module.attn, n_guidances
    q, k, v = split_heads(attn, fast_linear(attn.qkv, module.norm1(x)), 3)
    q, k = attn.q_norm(q), attn.k_norm(k)
    if g == 1 and patch_mask is None and _written_out(q):
        together = _one_class_attention(attn, q, k, v, bias)
        return finish_block(module, x, together.transpose(1, 2).flatten(2))
    patches = _patch_attention(attn, q[:, :, g:], k[:, :, g:], v[:, :, g:], patch_mask)
    attended = patches.transpose(1, 2)
    if g:
        own = _class_attention(attn, q[:, :, :g], k, v, bias)
        attended = torch.cat([own.transpose(1, 2).to(patches.dtype), attended], dim=1)
    return finish_block(module, x, attended.flatten(2))
