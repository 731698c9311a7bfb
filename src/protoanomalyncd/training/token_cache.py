"""Frozen tokens of every view, computed once and kept in memory-mapped files.

The blocks before the last never change, so their output for V views of each crop is stored (bf16)
and training runs on it. A cache that was interrupted goes on where it stopped. Source: ours.

Letters: n crops, V views, P tokens, C channels.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.config import TrainingConfig
from protoanomalyncd.core.errors import OutputError
from protoanomalyncd.core.records import FloatArray, ImageArray
from protoanomalyncd.core.threads import ordered_map, worker_count
from protoanomalyncd.regions.crop_set import CropSet
from protoanomalyncd.storage.files import read_json, write_json
from protoanomalyncd.storage.row_files import PageBudget
from protoanomalyncd.training.views import augmented_view, plain_view, view_generator
from protoanomalyncd.vit.amg_vit import GuidedEncoder
from protoanomalyncd.vit.base import Tokens

__all__ = ["Augment", "TokenCache", "fill_token_cache"]

Augment: TypeAlias = Callable[
    [ImageArray, FloatArray, int, np.random.Generator], tuple[ImageArray, FloatArray]
]
"""(image, values that guide, side, generator) -> windows of both, see `augmented_view`."""

_CHUNK = 8
_STATE = "tokens.json"
_STORED = {torch.bfloat16: np.int16, torch.float32: np.float32}
"""numpy's types of the stored tensors: it knows no bfloat16."""


@dataclass(frozen=True, slots=True)
class TokenCache:
    """Tokens of n crops in V views; view 0 is the plain one.

    Args:
        cls: (n, V, C), bfloat16.
        patches: (n, V, P, C), bfloat16.
        bias: (n, V, P), float32.
        descriptors: of the crops' regions (n, D), float32; the same in all views.
        budget: bounds the part of the files that is held in memory.
    """

    cls: Tensor
    patches: Tensor
    bias: Tensor
    descriptors: Tensor | None = None
    budget: PageBudget = field(default_factory=PageBudget)

    @property
    def n_views(self) -> int:
        """V, the plain view included."""
        return int(self.cls.shape[1])

    def pick(self, crops: Tensor, views: Tensor) -> Tokens:
        """Tokens of crops (m,) in the views (m,)."""
        patches = self.patches[crops, views]
        self.budget.touch(patches.nbytes)
        return Tokens(
            self.cls[crops, views].float(),
            patches.float(),
            self.bias[crops, views],
            None if self.descriptors is None else self.descriptors[crops],
        )


def fill_token_cache(
    folder: Path,
    crops: CropSet,
    encoder: GuidedEncoder,
    training: TrainingConfig,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
    augment: Augment = augmented_view,
) -> TokenCache:
    """Compute what is not there yet.

    Args:
        folder: of the cache's files; belongs to these crops, this encoder, views and seed.
        crops: n crops.
        encoder: its frozen part is used.
        training: number of augmented views beside the plain one, and bound of the files together.
        seed: of the augmentations.
        on_progress: called with (crops done, n).
        augment: makes an augmented view.

    Raises:
        OutputError: the cache would be larger than its bound or than the free disk; the message
            says how many views would fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    side = encoder.config.input_size
    device = next(encoder.tail.parameters()).device
    probe = encoder.tokens(
        torch.zeros((1, side, side, 3), dtype=torch.uint8, device=device),
        torch.zeros((1, side, side), device=device),
    )
    cache = _open(folder, len(crops), 1 + training.views, probe, training.cache_gb)
    state = folder / _STATE
    done = int(read_json(state)["done"]) if state.is_file() else 0

    def work(crop: int) -> Tokens:
        values = encoder.guide_values(crops.masks[crop], crops.maps[crop], crops.object_of(crop))
        pictures = [plain_view(crops.images[crop], values, side)]
        for view in range(1, cache.n_views):
            rng = view_generator(crops.keys[crop], view, seed)
            pictures.append(augment(crops.images[crop], values, side, rng))
        images, guides = (np.stack(part) for part in zip(*pictures, strict=True))
        return _stored(
            encoder.tokens(torch.from_numpy(images).to(device), torch.from_numpy(guides).to(device))
        )

    results = ordered_map(range(done, len(crops)), work, worker_count(device))
    for crop, tokens in enumerate(results, start=done):
        cache.cls[crop] = tokens.cls
        cache.patches[crop] = tokens.patches
        cache.bias[crop] = tokens.bias
        cache.budget.touch(tokens.patches.nbytes)
        if (crop + 1) % _CHUNK == 0 or crop + 1 == len(crops):
            write_json(state, {"done": crop + 1})
            if on_progress:
                on_progress(crop + 1, len(crops))
    return replace(cache, descriptors=torch.from_numpy(np.array(crops.descriptors)))


def _stored(tokens: Tokens) -> Tokens:
    """On the CPU, in the types of the cache."""
    return Tokens(
        tokens.cls.to("cpu", torch.bfloat16),
        tokens.patches.to("cpu", torch.bfloat16),
        tokens.bias.to("cpu", torch.float32),
    )


def _open(folder: Path, n_crops: int, n_views: int, probe: Tokens, largest_gb: float) -> TokenCache:
    """Memory-mapped tensors of the right shapes, their room on the disk reserved."""
    n_tokens, width = probe.patches.shape[1], probe.patches.shape[2]
    shapes = {
        "cls": ((n_crops, n_views, width), torch.bfloat16),
        "patches": ((n_crops, n_views, n_tokens, width), torch.bfloat16),
        "bias": ((n_crops, n_views, n_tokens), torch.float32),
    }
    sizes = {name: int(np.prod(shape)) * dtype.itemsize for name, (shape, dtype) in shapes.items()}
    total = sum(sizes.values())
    _check_bound(total, n_views, largest_gb)
    missing = {name: size for name, size in sizes.items() if not (folder / f"{name}.bin").is_file()}
    free = shutil.disk_usage(folder).free
    if sum(missing.values()) > 0.95 * free:
        raise _too_full(folder, sum(missing.values()), free)
    for name, size in missing.items():
        _reserve(folder / f"{name}.bin", size)
    mapped = {
        name: np.memmap(folder / f"{name}.bin", _STORED[dtype], "r+", shape=shape)
        for name, (shape, dtype) in shapes.items()
    }
    opened = {
        name: torch.from_numpy(mapped[name]).view(dtype) for name, (_, dtype) in shapes.items()
    }
    return TokenCache(**opened, budget=PageBudget(*mapped.values()))


def _check_bound(total: int, n_views: int, largest_gb: float) -> None:
    if total <= largest_gb * 1e9:
        return
    fit = int(largest_gb * 1e9 * n_views / total) - 1
    advice = f"set training.views to {fit}" if fit >= 2 else "train on fewer images"
    raise OutputError(
        f"token cache: expected at most training.cache_gb = {largest_gb:g} GB, got "
        f"{total / 1e9:.1f} GB for {n_views - 1} views and the plain one; {advice}, or raise the "
        "bound"
    )


def _reserve(path: Path, size: int) -> None:
    """Make a file of that size whose room on the disk is certain.

    A memory map into a file with holes would end the process when the disk runs full.
    """
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _too_full(path.parent, size, shutil.disk_usage(path.parent).free) from error


def _too_full(folder: Path, needed: int, free: int) -> OutputError:
    return OutputError(
        f"token cache: expected {needed / 1e9:.1f} GB free in {folder}, got {free / 1e9:.1f} GB; "
        "free some space, lower training.views, or choose another --out"
    )
