"""The normal reference: places of a set where nothing is wrong, as the encoder sees them (*ours*).

Before training, the encoder is shown normal places under the guidance of regions that were found
elsewhere (`regions.normal_crops`). What it says of them is the ground that embeddings are taken
relative to (`vit.whitening`) and that regions have to differ from (`discovery.normality`).

Letters: n crops or places, C width of an embedding, D width of a frozen view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.core.records import FloatArray, MapRange, Sample
from protoanomalyncd.datasets import read_image
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.pipeline.inputs import by_content
from protoanomalyncd.pipeline.workspace import Workspace
from protoanomalyncd.regions.crops import Crop
from protoanomalyncd.regions.normal_crops import NORMAL_CROPS, BorrowedGuidance, Place
from protoanomalyncd.storage.map_store import MapStore
from protoanomalyncd.storage.tensors import load_prefixed, read_tensors, write_tensors
from protoanomalyncd.training import CropSet, TokenCache
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit import GuidedEncoder

__all__ = ["fit_normal_reference", "looks_normal", "normal_views", "places_of"]


def places_of(
    normal: Sequence[Sample],
    ordered: Sequence[tuple[str, Sample]],
    store: MapStore,
    map_range: MapRange,
) -> list[Place]:
    """The normal images; where there are none, the unlabelled ones, for their quiet parts.

    Args:
        normal: images without a defect.
        ordered: unlabelled images with their content keys.
        store: their raw maps.
        map_range: range of these.
    """
    if normal:
        return [
            Place(key, partial(read_image, sample.path)) for key, sample in by_content(normal, [])
        ]

    def scores(name: str) -> FloatArray:
        return map_range.normalise(store.get(name))

    return [
        Place(key, partial(read_image, sample.path), partial(scores, sample.name))
        for key, sample in ordered
        if sample.name in store
    ]


def borrowed_guidance(
    crops: CropSet, sizes: Sequence[tuple[int, int]]
) -> tuple[int, Callable[[int], BorrowedGuidance]]:
    """How many regions guidance can be borrowed from, and the function that borrows one's.

    Args:
        crops: of the unlabelled images (n).
        sizes: width and height of each crop [px].
    """
    regions = np.flatnonzero(crops.anomalous).tolist()

    def borrow(number: int) -> BorrowedGuidance:
        row = regions[number]
        return BorrowedGuidance(sizes[row], crops.masks[row], crops.maps[row])

    return len(regions), borrow


def fit_normal_reference(
    encoder: GuidedEncoder, gate: NormalGate | None, drawn: Iterable[Crop], work: Workspace
) -> None:
    """Fit what is known of normal places; kept for a call that goes on.

    Args:
        encoder: its whitening is fitted, before anything is trained.
        gate: tells regions that look normal; None = none is wanted.
        drawn: crops of normal places.
        work: keeps ``normal.safetensors``.
    """
    parts = {"whitening": encoder.whitening, "patches": encoder.patches, "normality": gate}
    wanted = {name: part for name, part in parts.items() if part is not None}
    kept = work.folder / "normal.safetensors"
    if not wanted:
        return
    if kept.is_file():
        tensors = read_tensors(kept)
        for name, part in wanted.items():
            load_prefixed(part, tensors, f"{name}/")
        return
    cls, frozen = normal_views(
        encoder, drawn, lambda done: work.on_progress("embed normal places", done, NORMAL_CROPS)
    )
    if encoder.whitening is not None:
        encoder.whitening.fit(cls)
    if encoder.patches is not None:
        encoder.patches.fit(encoder.patches_of(frozen))
    if gate is not None:
        gate.fit(frozen)
    write_tensors(
        kept,
        {f"{n}/{k}": v for n, part in wanted.items() for k, v in part.state_dict().items()},
    )


@torch.no_grad()
def normal_views(
    encoder: GuidedEncoder, drawn: Iterable[Crop], on_progress: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """Unit class tokens (n, C) and frozen views (n, D) of plain views, one crop at a time.

    Args:
        encoder: not trained yet.
        drawn: crops of normal places.
        on_progress: called with the number of crops done.
    """
    side = encoder.config.input_size
    device = next(encoder.tail.parameters()).device
    cls = [torch.zeros(0, encoder.backbone.embed_dim, device=device)]
    frozen = [torch.zeros(0, encoder.frozen_dim, device=device)]
    for done, crop in enumerate(drawn, 1):
        seen = plain_view(crop.image, encoder.guide_values(crop.mask, crop.amap), side)
        window, values = (torch.from_numpy(part)[None].to(device) for part in seen)
        tokens = encoder.tokens(window, values)
        cls.append(encoder.class_token(tokens))
        frozen.append(encoder.frozen_view(tokens))
        on_progress(done)
    return torch.cat(cls), torch.cat(frozen)


@torch.no_grad()
def looks_normal(gate: NormalGate, cache: TokenCache) -> Tensor:
    """Whether the plain view of each stored crop looks normal, bool (n,)."""
    plain = torch.zeros(1, dtype=torch.int64)
    rows = []
    for crop in range(len(cache.cls)):
        tokens = cache.pick(plain + crop, plain).to(gate.centre.device)
        rows.append(gate(GuidedEncoder.frozen_view(tokens)).cpu())
    return torch.cat(rows)
