"""The built-in detector: distance of an image's patches to a memory of normal patches.

Source: PatchCore (Roth et al., CVPR 2022) without its coreset, its projection and its re-weighting
of the image score: a random subset of the patches is the memory. *Ours*: the features of each layer
are L2-normalised, unless they have lengths of their own; distances are taken relative to what
normal patches vary in; the choice of the subset does not depend on the order of the files; and
normal images are scored without their own patches to learn the range of normal scores.

Letters: B images, D channels of a descriptor, (h, w) grid of the finest feature map, M patches of
the memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.anomaly_maps.base import FitReport, Progress
from protoanomalyncd.anomaly_maps.nearest import half_squares, nearest_distance
from protoanomalyncd.anomaly_maps.registry import register
from protoanomalyncd.anomaly_maps.reservoir import PatchReservoir
from protoanomalyncd.anomaly_maps.square import patch_layers, read_square
from protoanomalyncd.core.checks import Range, check_arguments
from protoanomalyncd.core.errors import DatasetError, ModelFormatError, NotFittedError
from protoanomalyncd.core.records import FloatArray, ImageArray, Sample, Skipped
from protoanomalyncd.core.registry import Registered
from protoanomalyncd.core.threads import read_ahead
from protoanomalyncd.core.whitening import whitening_of
from protoanomalyncd.datasets.images import content_key
from protoanomalyncd.vit.base import Backbone

__all__ = ["PatchMemory", "local_descriptors"]

CALIBRATION_IMAGES = 200
"""Normal images that are scored without their own patches; more would only refine a quantile."""


def local_descriptors(layers: Sequence[Tensor], prenormalised: bool = False) -> Tensor:
    """Layers averaged over 3x3 positions, L2-normalised, brought to the finest grid and joined.

    The normalisation is *ours*: layers then weigh alike, and so do bright and dark, busy and plain
    patches. With the same network it detected more defects on generated images than features as
    they are, or divided by their standard deviation. A network whose layers have lengths of their
    own, the embedded one, detects more with these (docs/defaults.md).

    Args:
        layers: float (B, D_i, h_i, w_i), at least one.
        prenormalised: leave the layers' lengths as they are; see `Backbone`.

    Returns:
        float (B, D, h, w), D the sum of the D_i, (h, w) the largest grid.
    """
    finest = max((layer.shape[-2:] for layer in layers), key=lambda grid: grid[0] * grid[1])
    # The border has fewer neighbours; averaging zeros in would make it look anomalous.
    pooled = [F.avg_pool2d(layer, 3, 1, 1, count_include_pad=False) for layer in layers]
    if not prenormalised:
        pooled = [F.normalize(layer, dim=1) for layer in pooled]
    resized = [
        layer
        if layer.shape[-2:] == finest
        else F.interpolate(layer, finest, mode="bilinear", align_corners=False)
        for layer in pooled
    ]
    return torch.cat(resized, dim=1)


@register("patch_memory")
class PatchMemory(Registered):
    """Anomaly maps by nearest neighbours among normal patches.

    Images are scored one by one, so that a map depends on its image alone, to the bit: in a batch,
    matrix products may round differently with its size. (On a CPU a batch is not faster.)

    Args:
        backbone: network whose patch descriptors are compared; neither changed nor saved.
        image_size: side of the square to which images are resized [px].
        memory_size: normal patches kept, drawn at random.
        whitening: lambda of the `whitening_of` normal patches; None = distances as they are.
        smoothing: deviation of the Gaussian that smooths a map [cells]; 0 = none.
        seed: of that draw, and of the draw of the images that calibrate the range.
        device: where the network is.

    Raises:
        ConfigurationError: a number is out of its range.
    """

    precomputed: ClassVar[bool] = False
    learns_from: ClassVar[Literal["normal", "unlabelled"]] = "normal"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Annotated[int, Range(32)] = 256,
        memory_size: Annotated[int, Range(1)] = 12_000,
        whitening: Annotated[float, Range(0, ends="(]")] | None = 1.0,
        smoothing: Annotated[float, Range(0)] = 1.0,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        check_arguments(PatchMemory, locals(), "detector.")
        self._backbone = backbone
        self.image_size = image_size
        self.memory_size = memory_size
        self.whitening = whitening
        self.smoothing = smoothing
        self.seed = seed
        self._device = torch.device(device)
        self._memory: Tensor | None = None
        self._centre: Tensor | None = None
        self._matrix: Tensor | None = None
        self._half_norms: Tensor | None = None

    def fit(self, normal: Sequence[Sample], on_progress: Progress | None = None) -> FitReport:
        """Fill the memory, then score up to 200 normal images without their own patches.

        The images are read once for the memory and those of the calibration once more; at most
        2 x `memory_size` patches are held at a time. Copies of an image count once.

        Args:
            normal: images without a defect.
            on_progress: called after each image of both passes.

        Raises:
            DatasetError: no image can be used.
        """
        total = len(normal) + min(CALIBRATION_IMAGES, len(normal))
        images, owners, skipped = self._fill(normal, total, on_progress)
        by_draw = sorted(
            images, key=lambda key: hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
        )
        chosen = by_draw[:CALIBRATION_IMAGES]
        maxima = []
        for done, key in enumerate(chosen, start=len(normal) + 1):
            own = torch.tensor([owner == key for owner in owners], device=self._device)
            scores = self._distances(self._describe(self._read(images[key])), own)
            maxima.append(float(scores.max()))
            if on_progress is not None:
                on_progress(done, total)
        if on_progress is not None and len(chosen) < total - len(normal):
            on_progress(total, total)
        # An image that owns the whole memory has nothing left to be compared with.
        finite = np.asarray([m for m in maxima if np.isfinite(m)], np.float32)
        return FitReport(finite if len(finite) else None, tuple(skipped))

    def score(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, FloatArray | Skipped]]:
        """Raw maps (h, w) at the stride of the finest feature map: distances, >= 0.

        Raises:
            NotFittedError: `fit` or `load_state` must come first.
            ModelFormatError: the memory was filled with another backbone.
        """
        memory, _ = self._fitted()
        for sample, image in read_ahead(samples, self._read):
            if isinstance(image, Skipped):
                yield sample, image
                continue
            descriptors = self._describe(image)
            if descriptors.shape[0] != memory.shape[1]:
                raise ModelFormatError(
                    f"patch memory: expected the backbone of the fit, {memory.shape[1]} channels, "
                    f"got one with {descriptors.shape[0]}"
                )
            scores = self._distances(descriptors)
            if bool(torch.isfinite(scores).all()):
                yield sample, scores.cpu().numpy()
            else:
                yield sample, Skipped(sample.name, "the network's features are not finite")

    def state(self) -> dict[str, Tensor]:
        """``memory`` (M, D), centred and whitened; ``centre`` (D,); ``matrix`` (D, D); float32.

        The matrix is absent where patches are not whitened.

        Raises:
            NotFittedError: `fit` or `load_state` must come first.
        """
        memory, centre = self._fitted()
        state = {"memory": memory, "centre": centre}
        if self._matrix is not None:
            state["matrix"] = self._matrix
        return {name: tensor.cpu().contiguous() for name, tensor in state.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`.

        Raises:
            ModelFormatError: a tensor is missing, or shapes or types are not those of a memory.
        """
        shapes = {key: (tuple(value.shape), value.dtype) for key, value in sorted(state.items())}
        memory, centre, matrix = (state.get(name) for name in ("memory", "centre", "matrix"))
        if (
            memory is None
            or centre is None
            or memory.ndim != 2
            or len(memory) == 0
            or centre.shape != memory.shape[1:]
            or {memory.dtype, centre.dtype} != {torch.float32}
            or (
                matrix is not None
                and (
                    matrix.shape != (*centre.shape, *centre.shape) or matrix.dtype != torch.float32
                )
            )
        ):
            raise ModelFormatError(
                "patch memory: expected float32 memory (M, D), centre (D,) and at most a matrix "
                f"(D, D), got {shapes}"
            )
        whitening = None if matrix is None else matrix.to(self._device)
        self._remember(memory.to(self._device), centre.to(self._device), whitening)

    def _remember(self, memory: Tensor, centre: Tensor, matrix: Tensor | None) -> None:
        """Keep a memory that is centred, and whitened where there is a matrix."""
        self._memory, self._centre, self._matrix = memory, centre, matrix
        self._half_norms = half_squares(memory)

    def _fitted(self) -> tuple[Tensor, Tensor]:
        if self._memory is None or self._centre is None:
            raise NotFittedError("patch memory: expected fitted normal images, got none; call fit")
        return self._memory, self._centre

    def _fill(
        self, normal: Sequence[Sample], total: int, on_progress: Progress | None
    ) -> tuple[dict[str, Sample], list[str], list[Skipped]]:
        """Set the memory; return the images used by content key, the patches' owners, the rest."""
        reservoir = PatchReservoir(self.memory_size, self.seed)
        images: dict[str, Sample] = {}
        skipped: list[Skipped] = []
        n_patches = 0
        reading = read_ahead(normal, lambda s: (content_key(s.path), self._read(s)))
        for done, (sample, item) in enumerate(reading, start=1):
            if isinstance(item, Skipped):
                skipped.append(item)
            elif item[0] not in images:
                key, image = item
                # Once the memory is full, most images of a large set hold no patch of the draw, and
                # the network need not run.
                if not n_patches or reservoir.wants(reservoir.draw(key, n_patches)):
                    patches = self._describe(image).flatten(1).T
                    if not bool(torch.isfinite(patches).all()):
                        skipped.append(
                            Skipped(sample.name, "the network's features are not finite")
                        )
                        continue
                    n_patches = len(patches)
                    reservoir.add(key, reservoir.draw(key, n_patches), patches)
                images[key] = sample
            if on_progress is not None:
                on_progress(done, total)
        if not images:
            raise DatasetError(_no_normal_image(len(normal), skipped))
        patches, owners = reservoir.result()
        centre, matrix = patches.mean(dim=0), None
        if self.whitening is not None:
            found = whitening_of(patches, self.whitening)
            centre, matrix = (centre, None) if found is None else found
        memory = patches - centre
        self._remember(memory if matrix is None else memory @ matrix, centre, matrix)
        return images, owners, skipped

    def _read(self, sample: Sample) -> ImageArray:
        return read_square(sample.path, self.image_size)

    @torch.inference_mode()
    def _describe(self, image: ImageArray) -> Tensor:
        """uint8 (H, W, 3) -> float32 (D, h, w)."""
        layers = patch_layers(self._backbone, image, self._device)
        return local_descriptors(layers, self._backbone.prenormalised)[0]

    @torch.inference_mode()
    def _distances(self, descriptors: Tensor, excluded: Tensor | None = None) -> Tensor:
        """(D, h, w) -> smoothed map (h, w)."""
        memory, centre = self._fitted()
        queries = descriptors.flatten(1).T - centre
        if self._matrix is not None:
            queries = queries @ self._matrix
        found = nearest_distance(queries, memory, excluded, self._half_norms)
        amap = found.reshape(descriptors.shape[1:])
        if self.smoothing == 0:
            return amap
        smooth = cv2.GaussianBlur(amap.cpu().numpy(), (0, 0), self.smoothing)
        return torch.from_numpy(smooth).to(amap.device)


def _no_normal_image(n_given: int, skipped: Sequence[Skipped]) -> str:
    first = f"; first reason: {skipped[0].name}: {skipped[0].reason}" if skipped else ""
    return (
        f"patch memory: expected normal images to learn from (train/good), got {n_given}, "
        f"{len(skipped)} of them unusable{first}; or give the maps of another detector, or take "
        "the detector mutual_scoring, which needs none"
    )
