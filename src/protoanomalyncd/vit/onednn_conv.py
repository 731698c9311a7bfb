"""Convolutions of inference on CPUs with their sum and rectification in the same pass (*ours*).

By oneDNN's operator, as ``torch.compile`` calls it, with packed weights (``onednn_packed.py``):
fewer passes over memory, and sums that are rounded once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .onednn import is_plain_inference, operator, unhooked
from .onednn_packed import packed_conv

__all__ = ["fast_conv"]


def fast_conv(
    conv: nn.Conv2d, x: Tensor, relu: bool = False, residual: Tensor | None = None
) -> Tensor:
    """``conv(x)``, plus ``residual``, rectified if ``relu``.

    Args:
        conv: convolution without dilation and groups, zeros around.
        x: (B, C, H, W).
        relu: rectify at the end.
        residual: (B, D, H', W') to add, or None.

    Returns:
        (B, D, H', W')
    """
    plain = (
        type(conv) is nn.Conv2d
        and conv.weight.dtype == x.dtype
        and is_plain_inference(x)
        and unhooked(conv)
    )
    overload = "default" if residual is None else "binary"
    found = operator("_convolution_pointwise", x.dtype, overload) if plain else None
    if found is None:
        out: Tensor = conv(x)
        out = out if residual is None else out + residual
        return F.relu(out, inplace=True) if relu else out
    weight = packed_conv(conv)
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    if residual is None:
        after = "relu" if relu else "none"
        alone: Tensor = found(x, weight, conv.bias, *geometry, after, [], "")
        return alone
    parts = (x, residual, weight, conv.bias, *geometry)
    # Outside of its quick path the operator cannot rectify sums in half precision.
    # A single pixel is contiguous in every order.
    quick = residual.shape[2:].numel() > 1 and all(
        part.is_contiguous(memory_format=torch.channels_last) for part in (x, residual)
    )
    fused = relu and (quick or x.dtype == torch.float32)
    summed: Tensor = found(*parts, "add", 1.0, "relu" if fused else None, [], "")
    return F.relu(summed, inplace=True) if relu and not fused else summed
