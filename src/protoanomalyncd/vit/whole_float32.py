"""Float32 that means float32 on GPUs too.

torch lets cuDNN round what a convolution reads to 10 bits of mantissa (TF32) unless told otherwise.
That is enough to change classes: on Magnetic Tile Defect fits on an H100 had other metrics than on
the CPU beside it, and the same ones without it (docs/gpu.md). Matrix products are not rounded by
default; whoever has torch round them keeps that. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

__all__ = ["whole_float32"]


class _Shared:
    """What the threads inside share: how many they are, and what the first of them found."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.inside = 0
        self.rounded = False


_SHARED = _Shared()


@contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """Inside, convolutions on a GPU do not round float32.

    The setting is the process's: it is put back when the last of the threads inside leaves.

    Args:
        device: where the network is; nothing is done unless it is a GPU.
    """
    if device.type != "cuda":
        yield
        return
    with _SHARED.lock:
        if _SHARED.inside == 0:
            _SHARED.rounded = _rounds()
            if _SHARED.rounded:
                torch.backends.cudnn.allow_tf32 = False
        _SHARED.inside += 1
    try:
        yield
    finally:
        with _SHARED.lock:
            _SHARED.inside -= 1
            if _SHARED.inside == 0 and _SHARED.rounded:
                torch.backends.cudnn.allow_tf32 = True


def _rounds() -> bool:
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        # Convolutions and recurrent networks were set apart, by the caller: theirs to choose.
        return False
