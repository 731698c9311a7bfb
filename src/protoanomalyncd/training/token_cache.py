"""Frozen tokens of every view, computed once and kept in memory-mapped files.

The blocks before the last never change, so their output for V views of each crop is stored (bf16)
and training runs on it. A cache that was interrupted goes on where it stopped. Source: ours.

Letters: n crops, V views, P tokens, C channels.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.errors import OutputError
from protoanomalyncd.persistence.files import read_json, write_json
from protoanomalyncd.training.crop_set import CropSet
from protoanomalyncd.training.views import augmented_view, plain_view, view_generator
from protoanomalyncd.vit.amg_vit import GuidedEncoder
from protoanomalyncd.vit.backbone import Tokens

__all__ = ["TokenCache", "fill_token_cache"]

_CHUNK = 8
_STATE = "tokens.json"


@dataclass(frozen=True, slots=True)
class TokenCache:
    """Tokens of n crops in V views; view 0 is the plain one.

    Args:
        cls: (n, V, C), bfloat16.
        patches: (n, V, P, C), bfloat16.
        bias: (n, V, P), float32.
        descriptors: of the crops' regions (n, D), float32; the same in all views.
    """

    cls: Tensor
    patches: Tensor
    bias: Tensor
    descriptors: Tensor | None = None

    @property
    def n_views(self) -> int:
        """V, the plain view included."""
        return int(self.cls.shape[1])

    def pick(self, crops: Tensor, views: Tensor) -> Tokens:
        """Tokens of crops (m,) in the views (m,)."""
        return Tokens(
            self.cls[crops, views].float(),
            self.patches[crops, views].float(),
            self.bias[crops, views],
            None if self.descriptors is None else self.descriptors[crops],
        )


def fill_token_cache(
    folder: Path,
    crops: CropSet,
    encoder: GuidedEncoder,
    n_views: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
    recolouring: Literal["default", "reference"] = "default",
) -> TokenCache:
    """Compute what is not there yet.

    Args:
        folder: of the cache's files; belongs to these crops, this encoder, views and seed.
        crops: n crops.
        encoder: its frozen part is used.
        n_views: augmented views beside the plain one.
        seed: of the augmentations.
        on_progress: called with (crops done, n).
        recolouring: of the augmented views.

    Raises:
        OutputError: the disk is too small for the cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    side = encoder.config.input_size
    device = next(encoder.tail.parameters()).device
    probe = encoder.tokens(
        torch.zeros((1, side, side, 3), dtype=torch.uint8, device=device),
        torch.zeros((1, side, side), device=device),
    )
    cache = _open(folder, len(crops), 1 + n_views, probe)
    state = folder / _STATE
    done = int(read_json(state)["done"]) if state.is_file() else 0
    while done < len(crops):
        stop = min(done + _CHUNK, len(crops))
        for crop in range(done, stop):
            _fill_one(cache, crops, crop, encoder, seed, recolouring)
        done = stop
        write_json(state, {"done": done})
        if on_progress:
            on_progress(done, len(crops))
    return replace(cache, descriptors=torch.from_numpy(np.array(crops.descriptors)))


def _fill_one(
    cache: TokenCache,
    crops: CropSet,
    crop: int,
    encoder: GuidedEncoder,
    seed: int,
    recolouring: Literal["default", "reference"],
) -> None:
    side, mask_only = encoder.config.input_size, encoder.config.guidance.mask_only
    arguments = (crops.images[crop], crops.masks[crop], crops.maps[crop], side)
    on_object = crops.object_of(crop)
    pictures = [plain_view(*arguments, mask_only, on_object)]
    pictures += [
        augmented_view(
            *arguments,
            view_generator(crops.keys[crop], view, seed),
            mask_only=mask_only,
            on_object=on_object,
            recolouring=recolouring,
        )
        for view in range(1, cache.n_views)
    ]
    device = next(encoder.tail.parameters()).device
    images = torch.from_numpy(np.stack([p[0] for p in pictures])).to(device)
    anomaly = torch.from_numpy(np.stack([p[1] for p in pictures])).to(device)
    tokens = encoder.tokens(images, anomaly)
    cache.cls[crop] = tokens.cls.to("cpu", torch.bfloat16)
    cache.patches[crop] = tokens.patches.to("cpu", torch.bfloat16)
    cache.bias[crop] = tokens.bias.to("cpu", torch.float32)


def _open(folder: Path, n_crops: int, n_views: int, probe: Tokens) -> TokenCache:
    """Memory-mapped tensors of the right shapes."""
    n_tokens, width = probe.patches.shape[1], probe.patches.shape[2]
    shapes = {
        "cls": ((n_crops, n_views, width), torch.bfloat16),
        "patches": ((n_crops, n_views, n_tokens, width), torch.bfloat16),
        "bias": ((n_crops, n_views, n_tokens), torch.float32),
    }
    sizes = {name: int(np.prod(shape)) * dtype.itemsize for name, (shape, dtype) in shapes.items()}
    missing = sum(size for name, size in sizes.items() if not (folder / f"{name}.bin").is_file())
    free = shutil.disk_usage(folder).free
    if missing > 0.95 * free:
        raise OutputError(
            f"token cache: expected {missing / 1e9:.1f} GB free in {folder}, "
            f"got {free / 1e9:.1f} GB; "
            "free some space, lower training.views, or choose another --out"
        )
    opened = {
        name: torch.from_file(
            str(folder / f"{name}.bin"),
            shared=True,
            size=sizes[name] // dtype.itemsize,
            dtype=dtype,
        ).view(shape)
        for name, (shape, dtype) in shapes.items()
    }
    return TokenCache(**opened)
