"""Tensors as safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from protoanomalyncd.core.errors import ModelFormatError
from protoanomalyncd.storage.files import write_bytes

__all__ = ["load_prefixed", "read_tensors", "write_tensors"]


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file atomically."""
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, save(flat))


def load_prefixed(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Load the tensors whose names begin with `prefix` into a module that has just these."""
    module.load_state_dict(
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file into memory, on the CPU.

    Raises:
        ModelFormatError: the file is missing or damaged.
    """
    try:
        tensors: dict[str, Tensor] = load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelFormatError(f"{path}: expected a safetensors file, got {error}") from error
    return tensors
