"""All stages of the embedded network in one pass, under several guidances.

Letters: B images, G guidances, P patches, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from protoanomalyncd.vit.class_row import guided_rows

__all__ = ["embed", "forward_pyramid"]


def forward_pyramid(
    model: Any, x: Tensor, bias: Tensor | None = None
) -> dict[str, Tensor | list[Tensor]]:
    """All stages of one pass, with guided class tokens.

    Args:
        model: `EmbeddedViT` with a class token.
        x: normalised images (B, 3, H, W).
        bias: additive logits of the class rows of every block (B, G, P); None: one unguided class
            token (G = 1).

    Returns:
        ``s4`` (B, 64, H/4, W/4), ``s8`` (B, 128, H/8, W/8), ``tokens``: list of patch tokens
        (B, P, C) after each block, before the final norm, and ``cls``: normalised class tokens
        (B, G, C).
    """
    s4, s8, stride16 = model.patch_embed.stages(x)
    tokens = model.tokens_before_blocks(stride16)
    n_guidances = 1 if bias is None else bias.shape[1]
    own = model.cls_token.expand(len(tokens), n_guidances, -1).to(tokens.dtype)
    rows = torch.cat([own, tokens], dim=1)
    after: list[Tensor] = []
    for block in model.blocks:
        rows = guided_rows(block, rows, n_guidances, bias)
        after.append(rows[:, n_guidances:])
    return {"s4": s4, "s8": s8, "tokens": after, "cls": model.norm(rows[:, :n_guidances])}


def embed(model: Any, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Guided class tokens.

    Args:
        model: as for `forward_pyramid`.
        x: normalised images (B, 3, H, W).
        bias: additive logits (B, P) or (B, G, P), used in every block; None: unguided.

    Returns:
        (B, C) for a bias of (B, P) or None, else (B, G, C); not L2-normalised.
    """
    single = bias is None or bias.ndim == 2
    cls = forward_pyramid(model, x, bias.unsqueeze(1) if bias is not None and single else bias)
    found = cls["cls"]
    if not isinstance(found, Tensor):
        raise TypeError("expected a tensor of class tokens")
    return found[:, 0] if single else found
