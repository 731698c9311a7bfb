"""Layers of inference on CPUs by oneDNN's operators, with packed weights (*ours*).

PyTorch hands float32 products to MKL, which is slow on some processors; under autocast it turns
the weights of every layer to bfloat16 at each call; GELU, sums and rectification are passes of
their own. The operators that ``torch.compile`` itself calls do all that in one pass. They are not
public: this is the only file that knows them, and whatever they raise, the layer is called as it
is. So it is under gradients, tracing and compilation, on other devices, for layers with hooks or of
a derived class, and where oneDNN is absent, switched off, or without instructions for bfloat16.

Weights are packed when a layer is first used and again when they have changed: in place (torch
counts that, unless it is done through ``.data``), by another tensor, or by another type. Packed
memory can neither be saved nor copied: it belongs to no module, and goes with its layer.

Letters: B images, C and D channels.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.format import Format
from timm.layers.mlp import Mlp
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

__all__ = ["fast_conv", "fast_linear", "fast_mlp", "fast_patches"]

_KNOWN = (torch.float32, torch.bfloat16)


def fast_linear(layer: nn.Module, x: Tensor, gelu: str | None = None) -> Tensor:
    """``layer(x)``, by oneDNN where that is possible.

    A row gives the same bits in whatever company: oneDNN has another kernel for a single row,
    which is therefore computed twice. (MKL's results change with the number of rows where these
    are few.)

    Args:
        layer: linear layer, C -> D.
        x: (..., C).
        gelu: GELU afterwards, "none" or "tanh" as torch names its approximations; None: no GELU.

    Returns:
        (..., D)
    """
    dtype = _type(layer, x) if type(layer) is nn.Linear else None
    if dtype is not None:
        with suppress(Exception):  # of private operators any error may come
            return _product(x.to(dtype), _packed(layer, dtype, "linear"), gelu)
    out: Tensor = layer(x)
    return out if gelu is None else F.gelu(out, approximate=gelu)


def fast_mlp(mlp: Any, x: Tensor) -> Tensor:
    """``mlp(x)`` of a transformer block, its two linear layers by :func:`fast_linear`.

    Args:
        mlp: timm ``Mlp`` in evaluation, with GELU and without a norm; any other is just called.
        x: (..., C).

    Returns:
        (..., C)
    """
    plain = (
        type(mlp) is Mlp
        and type(mlp.act) is nn.GELU
        and type(mlp.norm) is nn.Identity
        and not mlp.training
        and all(_unhooked(part) for part in (mlp, mlp.act, mlp.norm, mlp.drop1, mlp.drop2))
    )
    if not plain:
        out: Tensor = mlp(x)
        return out
    return fast_linear(mlp.fc2, fast_linear(mlp.fc1, x, gelu=mlp.act.approximate))


def fast_patches(embed: Any, x: Tensor) -> Tensor:
    """``embed(x)`` of a patch embedding: windows that do not overlap are rows of one product.

    Args:
        embed: timm ``PatchEmbed`` for any size of image, without padding; any other is just called.
        x: (B, C, H, W).

    Returns:
        (B, H / p, W / p, D)
    """
    if type(embed) is PatchEmbed and _unhooked(embed) and _windows_apart(embed, x):
        conv = embed.proj
        dtype = _type(conv, x)
        if dtype is not None:
            with suppress(Exception):
                p, q = conv.stride
                cells = x.to(dtype).unflatten(3, (-1, q)).unflatten(2, (-1, p))
                rows = cells.permute(0, 2, 4, 1, 3, 5).flatten(3)
                tokens: Tensor = embed.norm(_product(rows, _packed(conv, dtype, "linear")))
                return tokens
    out: Tensor = embed(x)
    return out


def _windows_apart(embed: Any, x: Tensor) -> bool:
    """Whether the windows are those that :func:`fast_patches` cuts."""
    conv = embed.proj
    return (
        type(conv) is nn.Conv2d
        and not embed.flatten
        and embed.output_fmt == Format.NHWC
        and conv.kernel_size == conv.stride
        and (conv.padding, conv.dilation, conv.groups) == ((0, 0), (1, 1), 1)
        and x.shape[2] % conv.stride[0] == x.shape[3] % conv.stride[1] == 0
    )


def fast_conv(
    conv: nn.Conv2d, x: Tensor, relu: bool = False, residual: Tensor | None = None
) -> Tensor:
    """``conv(x)``, plus ``residual``, rectified if ``relu``; sums are rounded once.

    Args:
        conv: convolution with zeros around.
        x: (B, C, H, W).
        relu: rectify at the end.
        residual: (B, D, H', W') to add, or None.

    Returns:
        (B, D, H', W')
    """
    dtype = _type(conv, x) if type(conv) is nn.Conv2d else None
    if dtype is not None and (residual is None or residual.dtype == dtype):
        with suppress(Exception):
            return _convolution(conv, x.to(dtype), relu, residual)
    out: Tensor = conv(x)
    out = out if residual is None else out + residual
    return F.relu(out, inplace=True) if relu else out


def _product(x: Tensor, packed: _Packed, gelu: str | None = None) -> Tensor:
    """(..., C) -> (..., D)."""
    single = x.numel() == x.shape[-1]
    rows = x.reshape(1, -1).expand(2, -1) if single else x
    kind = "none" if gelu is None else "gelu"
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(
        rows, packed.weight, packed.bias, kind, [], gelu or ""
    )
    return out[0].view(*x.shape[:-1], -1) if single else out


def _convolution(conv: nn.Conv2d, x: Tensor, relu: bool, residual: Tensor | None) -> Tensor:
    """As :func:`fast_conv`."""
    packed, operator = (
        _packed(conv, x.dtype, "convolution"),
        torch.ops.mkldnn._convolution_pointwise,
    )
    if residual is None:
        after = "relu" if relu else "none"
        alone: Tensor = operator.default(
            x, packed.weight, packed.bias, *_geometry(conv), after, [], ""
        )
        return alone
    # Outside of its quick path the operator cannot rectify sums in half precision.
    # A single pixel is contiguous in every order.
    quick = residual.shape[2:].numel() > 1 and all(
        part.is_contiguous(memory_format=torch.channels_last) for part in (x, residual)
    )
    fused = "relu" if relu and (quick or x.dtype == torch.float32) else None
    parts = (x, residual, packed.weight, packed.bias, *_geometry(conv))
    summed: Tensor = operator.binary(*parts, "add", 1.0, fused, [], "")
    return F.relu(summed, inplace=True) if relu and not fused else summed


def _type(layer: Any, x: Tensor) -> torch.dtype | None:
    """In which type oneDNN may compute a layer; None: the layer is to be called as it is."""
    backend = torch.backends.mkldnn
    plain = (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and x.is_cpu
        and type(x) in (Tensor, nn.Parameter)
        and x.numel() > 0
        and _unhooked(layer)
        and backend.is_available()
        and getattr(backend, "enabled", True)
    )
    if not plain:
        return None
    # Autocast turns the weights to its type, and what it is given unless that is more precise.
    half = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if half else x.dtype
    same = x.dtype in _KNOWN if half else layer.weight.dtype == dtype
    known = dtype == torch.float32 or (dtype == torch.bfloat16 and _has_bfloat16())
    return dtype if same and known else None


def _unhooked(layer: nn.Module) -> bool:
    """Whether nobody waits for a layer's call."""
    return not (layer._forward_hooks or layer._forward_pre_hooks)


@cache
def _has_bfloat16() -> bool:
    with suppress(Exception):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


@dataclass(frozen=True, slots=True)
class _Packed:
    """A layer's weights in oneDNN's order.

    Args:
        state: `_state` of the layer when it was packed.
        sources: weights as they were then; held, so that no others can come to lie where they lay.
        weight: packed.
        bias: in the same type, or None.
    """

    state: tuple[Any, ...]
    sources: tuple[Tensor | None, ...]
    weight: Tensor
    bias: Tensor | None


_kept: weakref.WeakKeyDictionary[nn.Module, dict[tuple[str, torch.dtype], _Packed]]
_kept = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _packed(layer: Any, dtype: torch.dtype, order: str) -> _Packed:
    """A layer's weights packed in a type, for "linear" or "convolution".

    Raises:
        TypeError: the weights are of a kind that oneDNN does not read.
        RuntimeError: they were made in inference mode, in which nobody counts their changes.
    """
    weight, bias = layer.weight, layer.bias
    geometry = () if order == "linear" else _geometry(layer)
    state = (_state(weight), None if bias is None else _state(bias), geometry)
    of_layer = _kept.get(layer)
    found = None if of_layer is None else of_layer.get((order, dtype))
    if found is not None and found.state == state:
        return found
    sources = weight.detach(), None if bias is None else bias.detach()
    if any(p is not None and (type(p) is not Tensor or not p.is_cpu) for p in sources):
        raise TypeError(f"expected tensors on the CPU, got {sources}")
    weight = sources[0].to(dtype).contiguous()
    bias = None if sources[1] is None else sources[1].to(dtype).contiguous()
    if order == "linear":
        weight = torch.ops.mkldnn._reorder_linear_weight(weight.flatten(1))
    else:
        weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry)
    found = _Packed(state, sources, weight, bias)
    with _lock:
        _kept.setdefault(layer, {})[order, dtype] = found
    return found


def _geometry(conv: nn.Conv2d) -> tuple[Any, ...]:
    return conv.padding, conv.stride, conv.dilation, conv.groups


def _state(weight: Tensor) -> tuple[Any, ...]:
    """Differs from what it was whenever the weight does."""
    return weight.data_ptr(), weight._version, weight.dtype, weight.shape, weight.stride()
