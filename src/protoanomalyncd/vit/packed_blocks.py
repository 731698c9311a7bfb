"""Frozen blocks at the speed of the processor: weights packed once, in the type they are used in.

Under autocast every product of a frozen layer turns its weights to bfloat16 again, at each call; in
float32 torch may hand it to a library that is slow on this processor. Here the weights of frozen
layers are converted and packed for oneDNN when they are first used, as torch's own compiler does
with frozen weights, and GELU is part of the product before it. Nothing else changes: sums between
blocks, norms and scales stay in float32, as autocast has them. Source: *ours*.

What does not fit (another device, tracing, gradients, a build without oneDNN) runs the layers as
they are.

Letters: B images, N tokens, C channels.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from .onednn import is_untraced_inference, operator

__all__ = ["FastBlocks", "PackedLinear", "PackedPatches", "can_pack"]

_NEEDED = ("_linear_pointwise", "_reorder_linear_weight")


def can_pack(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether frozen layers may run packed on an input, in a type."""
    return is_untraced_inference(x) and all(operator(name, dtype) for name in _NEEDED)


class PackedLinear(nn.Module):
    """A frozen ``nn.Linear`` with packed weights.

    Args:
        weight: (D, C).
        bias: (D,), or None.
        dtype: in which the product is computed.
        gelu: GELU (by the error function) of the result, in the same pass.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, gelu: bool = False
    ) -> None:
        super().__init__()
        self.dtype = dtype
        # Plain attributes: packed memory can neither be saved nor moved nor copied.
        plain = weight.detach().to(dtype).contiguous()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(plain)
        self._bias = None if bias is None else bias.detach().to(dtype).clone()
        self._after = ("gelu", "none") if gelu else ("none", "")

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., D), in `dtype`."""
        name, algorithm = self._after
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self._weight, self._bias, name, [], algorithm
        )
        return out


class PackedPatches(nn.Module):
    """A convolution whose windows do not overlap, as one product.

    Args:
        conv: kernel = stride, without padding.
        dtype: in which the product is computed.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self._stride = (int(conv.stride[0]), int(conv.stride[1]))
        self._product = PackedLinear(conv.weight.flatten(1), conv.bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/p, W/p)."""
        (p, q), (n, channels, height, width) = self._stride, x.shape
        rows, columns = height // p, width // q
        cells = x[:, :, : rows * p, : columns * q].to(self._product.dtype)
        cells = cells.reshape(n, channels, rows, p, columns, q).permute(0, 2, 4, 1, 3, 5)
        found: Tensor = self._product(cells.reshape(n, rows * columns, channels * p * q))
        return found.transpose(1, 2).reshape(n, -1, rows, columns)


class FastBlocks:
    """Packed copies of a frozen network's first layer and blocks; made when first asked for.

    They are made again when a weight has changed. A deep copy starts without them.

    Args:
        layers: the modules to copy; they stay as they are.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = list(layers)
        self._weights = [p for layer in self._layers for p in layer.parameters()]
        self._made: dict[torch.dtype, tuple[tuple[int, ...], list[nn.Module]]] = {}
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> FastBlocks:
        return FastBlocks(copy.deepcopy(self._layers, memo))

    def layers_for(self, x: Tensor) -> Sequence[nn.Module]:
        """The layers to run on `x`: packed in the type of the present autocast, or as they are."""
        half = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if half else torch.float32
        if not can_pack(x, dtype):
            return self._layers
        with self._lock:
            state = self._state()
            if dtype not in self._made or self._made[dtype][0] != state:
                self._made[dtype] = (state, [_packed(layer, dtype) for layer in self._layers])
            return self._made[dtype][1]

    def _state(self) -> tuple[int, ...]:
        """Changes with any weight."""
        return tuple(n for p in self._weights for n in (p.data_ptr(), _version(p)))


def _version(parameter: Tensor) -> int:
    return 0 if parameter.is_inference() else parameter._version


def _packed(layer: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a layer with packed products."""
    twin = copy.deepcopy(layer).eval().requires_grad_(False)
    holder = nn.ModuleList([twin])
    _pack_children(holder, dtype)
    return holder[0]


def _pack_children(module: Any, dtype: torch.dtype) -> None:
    fused = "fc1" if type(module) is Mlp and _is_plain_gelu(module) else None
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            packed = PackedLinear(child.weight, child.bias, dtype, gelu=name == fused)
            setattr(module, name, packed)
        elif type(child) is nn.Conv2d and _windows_apart(child):
            setattr(module, name, PackedPatches(child, dtype))
        else:
            _pack_children(child, dtype)
    if fused:
        module.act = nn.Identity()


def _is_plain_gelu(mlp: Any) -> bool:
    """GELU by the error function follows the first product at once."""
    plain = isinstance(mlp.act, nn.GELU) and mlp.act.approximate == "none"
    return plain and type(mlp.fc1) is nn.Linear


def _windows_apart(conv: nn.Conv2d) -> bool:
    apart = conv.kernel_size == conv.stride and conv.groups == 1
    return apart and conv.padding in ((0, 0), 0) and conv.dilation == (1, 1)
