"""Convolutions of inference on CPUs with their sum and rectification in the same pass (*ours*).

By oneDNN's operator, as ``torch.compile`` calls it, with plain weights (see
``onednn_linear.py``): fewer passes over memory, and sums that are rounded once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .onednn_linear import is_plain_inference

__all__ = ["fast_conv"]


@cache
def _operator(dtype: torch.dtype) -> Any:
    """OneDNN's convolution, or None where it is absent or slow."""
    if not torch.backends.mkldnn.is_available():
        return None
    group = torch.ops.mkldnn
    if dtype == torch.bfloat16 and not group._is_mkldnn_bf16_supported():
        return None
    if dtype not in (torch.float32, torch.bfloat16):
        return None
    found = getattr(group, "_convolution_pointwise", None)
    return found if found is not None and "binary" in found.overloads() else None


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
    operator = _operator(x.dtype)
    plain = (
        operator is not None
        and type(conv) is nn.Conv2d
        and conv.weight.dtype == x.dtype
        and is_plain_inference(x)
        and not (conv._forward_hooks or conv._forward_pre_hooks)
    )
    if not plain:
        out: Tensor = conv(x)
        out = out if residual is None else out + residual
        return F.relu(out, inplace=True) if relu else out
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    after = "relu" if relu else "none"
    if residual is None:
        found: Tensor = operator(x, conv.weight, conv.bias, *geometry, after, [], "")
        return found
    parts = (x, residual, conv.weight, conv.bias, *geometry)
    summed: Tensor = operator.binary(*parts, "add", 1.0, "relu" if relu else None, [], "")
    return summed
