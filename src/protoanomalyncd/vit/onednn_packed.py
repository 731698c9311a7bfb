"""Weights in the order in which oneDNN reads them, kept beside their layers (*ours*).

With plain weights oneDNN brings them into its order at each call, which a single image feels.
They are packed when a layer is first used for inference, and again when its weights have changed:
in place (torch counts that), by another tensor, or by another type.

Packed memory can neither be saved nor copied: it belongs to no module, and goes with its layer.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .onednn import operator

__all__ = ["packed_conv", "packed_linear"]


@dataclass(frozen=True)
class _Packed:
    """A weight as it was when it was packed.

    Args:
        source: the weight; held, so that no other can come to lie where it lay.
        state: `_state` of it then.
        packed: the same in oneDNN's order.
    """

    source: Tensor
    state: tuple[Any, ...]
    packed: Tensor


_kept: weakref.WeakKeyDictionary[nn.Module, _Packed] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def packed_linear(layer: nn.Linear) -> Tensor:
    """The weight (D, C) of a linear layer in oneDNN's order, or as it is."""
    return _packed(layer, "_reorder_linear_weight", ())


def packed_conv(layer: nn.Conv2d) -> Tensor:
    """The weight (D, C, h, w) of a convolution in oneDNN's order, or as it is."""
    geometry = (layer.padding, layer.stride, layer.dilation, layer.groups)
    return _packed(layer, "_reorder_convolution_weight", geometry)


def _packed(layer: nn.Linear | nn.Conv2d, name: str, geometry: tuple[Any, ...]) -> Tensor:
    weight = layer.weight
    if weight.is_inference():  # nobody counts its changes
        return weight
    kept, state = _kept.get(layer), _state(weight)
    if kept is not None and kept.state == state:
        return kept.packed
    pack = operator(name, weight.dtype)
    if pack is None or type(weight) not in (Tensor, nn.Parameter) or weight.device.type != "cpu":
        return weight
    with _lock, torch.no_grad():
        source = weight.detach()
        _kept[layer] = kept = _Packed(source, state, pack(source.contiguous(), *geometry))
    return kept.packed


def _state(weight: Tensor) -> tuple[Any, ...]:
    """Differs from what it was whenever the weight does."""
    return weight.data_ptr(), weight._version, weight.dtype, weight.shape, weight.stride()
