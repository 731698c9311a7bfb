"""Which operators of oneDNN there are, and when a layer may be left to them (*ours*).

They are the operators that ``torch.compile`` itself calls: they know neither gradients nor tracers,
and may be absent, switched off, or slow in half precision.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["is_plain_inference", "is_untraced_inference", "operator", "unhooked"]


def operator(name: str, dtype: torch.dtype, overload: str = "default") -> Any:
    """An operator of oneDNN, or None where it is absent, switched off or slow.

    Args:
        name: in ``torch.ops.mkldnn``.
        dtype: in which it is to compute; only float32 and bfloat16 are known.
        overload: which of its forms.
    """
    backend = torch.backends.mkldnn
    if not (backend.is_available() and getattr(backend, "enabled", True)):
        return None
    if dtype == torch.float32 or (dtype == torch.bfloat16 and _has_bfloat16()):
        return _found(name, overload)
    return None


@cache
def _has_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def _found(name: str, overload: str) -> Any:
    return getattr(getattr(torch.ops.mkldnn, name, None), overload, None)


def is_untraced_inference(x: Tensor) -> bool:
    """Whether operators of the CPU without gradients will do for ``x``, and no tracer looks on."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
    )


def is_plain_inference(x: Tensor) -> bool:
    """The same of operators that know neither autocast nor derived or empty tensors either."""
    return (
        is_untraced_inference(x)
        and type(x) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
        and x.numel() > 0
    )


def unhooked(layer: nn.Module) -> bool:
    """Whether nobody waits for a layer's call."""
    return not (layer._forward_hooks or layer._forward_pre_hooks)
