"""Anomaly maps without normal images: unlabelled images score one another.

A normal patch has a near twin in most other images, an anomalous one in few. So a patch is scored
by its distances to the nearest patch of every other image, averaged over the images that are most
like it: what a third of the images can match counts as normal.

Source: MuSc (Li et al., ICLR 2024): several layers, neighbourhoods of 1, 3 and 5 patches, the mean
of the lowest 30 % of the distances. Where we differ (*ours*): images are compared with a seeded
subset of bounded size, which is kept, so that new images are scored without the others and the
same image always gets the same map; of the references every second row and column of a fine grid
is used; features are L2-normalised instead of layer-normalised; images are not re-scored by their
class tokens (RsCIN), since only the maps are used here.

Letters: R reference images, S patches of each, Q patches of the image, D channels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.anomaly_maps.base import FitReport, Progress
from protoanomalyncd.anomaly_maps.registry import register
from protoanomalyncd.anomaly_maps.square import patch_layers, read_square
from protoanomalyncd.core.checks import Range, check_arguments
from protoanomalyncd.core.errors import DatasetError, ModelFormatError, NotFittedError
from protoanomalyncd.core.records import FloatArray, ImageArray, Sample, Skipped
from protoanomalyncd.core.registry import Registered
from protoanomalyncd.core.threads import read_ahead
from protoanomalyncd.datasets.images import content_key
from protoanomalyncd.vit.base import Backbone

__all__ = ["MutualScoring", "interval_average", "nearest_in_each"]

LOWEST_SHARE = 0.3
"""Share of the reference images, the most similar ones, over which a patch's score is averaged."""
NEIGHBOURHOODS = (1, 3, 5)
"""Sides of the squares of patches over which features are averaged [patches]."""
FEWEST_IMAGES = 3
MOST_PATCHES = 256
"""Patches taken of a reference image in each layer, on a regular grid."""
BLOCK = 16
"""Reference images compared at once."""


def nearest_in_each(queries: Tensor, references: Tensor) -> Tensor:
    """Distance of each patch to the nearest patch of each reference image.

    Args:
        queries: unit descriptors (Q, D).
        references: unit descriptors (R, S, D).

    Returns:
        (Q, R), Euclidean, in [0, 2].
    """
    n_images, n_patches = references.shape[:2]
    largest = []
    for start in range(0, n_images, BLOCK):
        block = references[start : start + BLOCK]
        cosines = queries @ block.flatten(0, 1).T
        largest.append(cosines.view(len(queries), len(block), n_patches).amax(dim=2))
    return (2 - 2 * torch.cat(largest, dim=1)).clamp_min(0).sqrt()


def interval_average(distances: Tensor, share: float = LOWEST_SHARE) -> Tensor:
    """Mean of the lowest share of each row.

    Source: [ref] MuSc, ``_MSM.py``: the lowest int(share * n) of n; ours: at least one.

    Args:
        distances: (Q, n), n >= 1.
        share: in (0, 1].

    Returns:
        (Q,)
    """
    n_lowest = max(1, int(distances.shape[1] * share))
    return distances.topk(n_lowest, dim=1, largest=False, sorted=True).values.mean(dim=1)


@dataclass(frozen=True, slots=True)
class _References:
    """What images are compared with.

    Args:
        keys: content keys of the images, hex (R,).
        layers: features as they came from the network, float16 (R, D, h, w) a layer.
        compared: for each layer and neighbourhood unit descriptors (R, S, D).
    """

    keys: tuple[str, ...]
    layers: tuple[Tensor, ...]
    compared: tuple[tuple[Tensor, ...], ...]


@register("mutual_scoring")
class MutualScoring(Registered):
    """Anomaly maps from unlabelled images alone.

    Works where at least about a third of the images look alike wherever nothing is wrong. One
    image is scored at a time, so that a map depends on its image and the references only, to the
    bit; an image that is a reference itself is not compared with itself, nor with its copies.

    Args:
        backbone: network whose patch descriptors are compared; neither changed nor saved.
        image_size: side of the square to which images are resized [px].
        reference_images: images that every image is compared with, drawn at random.
        seed: of that draw.
        device: where the network is.

    Raises:
        ConfigurationError: a number is out of its range.
    """

    precomputed: ClassVar[bool] = False
    learns_from: ClassVar[Literal["normal", "unlabelled"]] = "unlabelled"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Annotated[int, Range(32)] = 256,
        reference_images: Annotated[int, Range(3)] = 64,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        check_arguments(MutualScoring, locals(), "detector.")
        self._backbone = backbone
        self.image_size = image_size
        self.reference_images = reference_images
        self.seed = seed
        self._device = torch.device(device)
        self._references: _References | None = None

    def fit(self, images: Sequence[Sample], on_progress: Progress | None = None) -> FitReport:
        """Draw the reference images. What cannot be read is passed over; `score` says why.

        Args:
            images: unlabelled, normal ones and others.
            on_progress: called after each image, first of the draw, then of its features.

        Raises:
            DatasetError: fewer than three different images can be used.
        """
        total = len(images) + min(self.reference_images, len(images))
        by_key: dict[str, Sample] = {}
        for done, (sample, key) in enumerate(read_ahead(images, _key), start=1):
            if isinstance(key, str):
                by_key.setdefault(key, sample)
            if on_progress is not None:
                on_progress(done, total)
        found: dict[str, list[Tensor]] = {}
        for key in sorted(by_key, key=self._ticket):
            if len(found) == self.reference_images:
                break
            _, image = next(read_ahead([by_key[key]], self._read))
            if not isinstance(image, Skipped):
                layers = self._features(image[1])
                if all(bool(torch.isfinite(layer).all()) for layer in layers):
                    found[key] = [layer.half().cpu() for layer in layers]
                    if on_progress is not None:
                        on_progress(len(images) + len(found), total)
        if len(found) < FEWEST_IMAGES:
            raise DatasetError(
                f"mutual scoring: expected at least {FEWEST_IMAGES} different images to compare "
                f"with one another, got {len(found)} of {len(images)} that can be used; add "
                "images, or give the maps of another detector (--maps)"
            )
        if on_progress is not None:
            on_progress(total, total)
        stacked = [torch.stack(layer) for layer in zip(*found.values(), strict=True)]
        self._set(tuple(found), stacked)
        return FitReport()

    def score(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, FloatArray | Skipped]]:
        """Raw maps (h, w) at the stride of the finest layer: mean distances, in [0, 2].

        Raises:
            NotFittedError: `fit` or `load_state` must come first.
            ModelFormatError: the references were made with another backbone.
        """
        references = self._fitted()
        for sample, item in read_ahead(samples, self._read):
            if isinstance(item, Skipped):
                yield sample, item
                continue
            scores = self._map(item[0], self._features(item[1]), references)
            if bool(torch.isfinite(scores).all()):
                yield sample, scores.cpu().numpy()
            else:
                yield sample, Skipped(sample.name, "the network's features are not finite")

    def state(self) -> dict[str, Tensor]:
        """``keys``: uint8 (R, bytes of a key); ``layer0``, ...: float16 (R, D, h, w).

        Raises:
            NotFittedError: `fit` or `load_state` must come first.
        """
        references = self._fitted()
        keys = [list(bytes.fromhex(key)) for key in references.keys]
        layers = {f"layer{i}": layer for i, layer in enumerate(references.layers)}
        return {"keys": torch.tensor(keys, dtype=torch.uint8), **layers}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`.

        Raises:
            ModelFormatError: a tensor is missing, or shapes or types are not those of references.
        """
        keys = state.get("keys")
        layers = [state.get(f"layer{i}") for i in range(len(state) - 1)]
        if (
            keys is None
            or keys.ndim != 2
            or keys.dtype != torch.uint8
            or not layers
            or any(
                layer is None
                or layer.ndim != 4
                or layer.dtype != torch.float16
                or len(layer) != len(keys)
                for layer in layers
            )
        ):
            shapes = {name: (tuple(v.shape), v.dtype) for name, v in sorted(state.items())}
            raise ModelFormatError(
                "mutual scoring: expected uint8 keys (R, bytes) and float16 layers (R, D, h, w), "
                f"got {shapes}"
            )
        self._set(
            tuple(bytes(row.tolist()).hex() for row in keys),
            [layer for layer in layers if layer is not None],
        )

    def _ticket(self, key: str) -> bytes:
        """Place of an image in the draw: neither names nor the order of the files count."""
        return hashlib.sha256(f"{self.seed}:{key}".encode()).digest()

    def _fitted(self) -> _References:
        if self._references is None:
            raise NotFittedError("mutual scoring: expected fitted images, got none; call fit")
        return self._references

    def _set(self, keys: tuple[str, ...], layers: Sequence[Tensor]) -> None:
        """Compare with the features as they are kept, in half precision: saved is as fitted."""
        compared = tuple(
            tuple(
                torch.stack([_sampled(_pooled(row.to(self._device), side)) for row in layer])
                for side in NEIGHBOURHOODS
            )
            for layer in layers
        )
        self._references = _References(keys, tuple(layers), compared)

    def _read(self, sample: Sample) -> tuple[str, ImageArray]:
        return content_key(sample.path), read_square(sample.path, self.image_size)

    def _features(self, image: ImageArray) -> list[Tensor]:
        """uint8 (H, W, 3) -> float32 layers (D, h, w)."""
        return [layer[0] for layer in patch_layers(self._backbone, image, self._device)]

    @torch.inference_mode()
    def _map(self, key: str, layers: Sequence[Tensor], references: _References) -> Tensor:
        """Layers (D, h, w) -> (h, w) of the finest."""
        if [len(layer) for layer in layers] != [layer.shape[1] for layer in references.layers]:
            raise ModelFormatError(
                f"mutual scoring: expected the backbone of the fit, with "
                f"{[layer.shape[1] for layer in references.layers]} channels, got "
                f"{[len(layer) for layer in layers]}"
            )
        others = torch.tensor([other != key for other in references.keys], device=self._device)
        finest = max((layer.shape[1:] for layer in layers), key=lambda grid: grid[0] * grid[1])
        maps = []
        for layer, compared in zip(layers, references.compared, strict=True):
            for side, patches in zip(NEIGHBOURHOODS, compared, strict=True):
                queries = _pooled(layer, side).flatten(1).T
                scores = interval_average(nearest_in_each(queries, patches)[:, others])
                grid = scores.reshape(1, 1, *layer.shape[1:])
                maps.append(F.interpolate(grid, finest, mode="bilinear", align_corners=False))
        return torch.cat(maps).mean(dim=0)[0]


def _key(sample: Sample) -> str:
    return content_key(sample.path)


def _pooled(layer: Tensor, side: int) -> Tensor:
    """(D, h, w) -> unit descriptors of the means over side x side positions, (D, h, w)."""
    mean = F.avg_pool2d(layer[None].float(), side, 1, side // 2, count_include_pad=False)[0]
    return F.normalize(mean, dim=0)


def _sampled(layer: Tensor) -> Tensor:
    """(D, h, w) -> (S, D), on a regular grid of at most `MOST_PATCHES` positions."""
    step = math.ceil(math.sqrt(layer.shape[1] * layer.shape[2] / MOST_PATCHES))
    return layer[:, step // 2 :: step, step // 2 :: step].flatten(1).T.contiguous()
