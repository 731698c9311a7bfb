"""Images as the main job has them before training: maps, regions, crops, what is normal.

What the studies of `research` begin with; nothing here chooses anything.

Letters: n crops, C width of an embedding, D width of a frozen view.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protoanomalyncd.anomaly_maps import AnomalyMapSource, create
from protoanomalyncd.config import Config, CropConfig
from protoanomalyncd.datasets import LabelledSet
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.pipeline.fit import Fit
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.pipeline.milestones import Cropped, Scored
from protoanomalyncd.pipeline.normal_reference import (
    borrowed_guidance,
    looks_normal,
    normal_views,
)
from protoanomalyncd.pipeline.parts import Parts
from protoanomalyncd.pipeline.stages import CroppedImage, crop_labelled_set
from protoanomalyncd.pipeline.steps import Steps
from protoanomalyncd.pipeline.workspace import Workspace
from protoanomalyncd.regions.normal_crops import normal_crops
from protoanomalyncd.training import CropSet, Samples, TokenCache
from protoanomalyncd.vit import Backbone, GuidedEncoder

__all__ = [
    "Prepared",
    "anomalous_crops",
    "detector_of",
    "labelled_crops",
    "parts_of",
    "prepare",
    "region_areas",
    "region_images",
]


def detector_of(name: str, backbone: Backbone, **options: Any) -> AnomalyMapSource:
    """A built-in detector by its name, with its own options."""
    return create(name, options, backbone=backbone)


def parts_of(config: Config, backbone: Backbone, detector: str, **options: Any) -> Parts:
    """Components that a study gives as objects: a network, and a detector that looks through it."""
    return Parts(config, backbone, detector_of(detector, backbone, **options))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A fit that stands before its training.

    Args:
        fit: settings, network and folder.
        scored: after the maps.
        cropped: after the regions.
    """

    fit: Fit
    scored: Scored
    cropped: Cropped

    @property
    def crops(self) -> CropSet:
        """Of the unlabelled images."""
        return self.cropped.crops

    @property
    def images(self) -> list[CroppedImage]:
        """Unlabelled images with their regions."""
        return self.cropped.images

    @property
    def region_types(self) -> list[str]:
        """Type of the image of each region, by its folder."""
        return [str(image.sample.label) for image in self.images for _ in image.regions]

    def encoder(self) -> tuple[GuidedEncoder, NormalGate | None]:
        """A fresh encoder that was shown normal places, and what tells these; no seed is set."""
        encoder = GuidedEncoder(self.fit.backbone, self.fit.config.embedding)
        return encoder, self.fit.fit_normal_reference(encoder, self.scored, self.cropped)

    def normal_views(self, encoder: GuidedEncoder) -> tuple[Tensor, Tensor]:
        """Unit class tokens (n, C) and frozen views (n, D) of normal places."""
        config = self.fit.config
        borrowed = borrowed_guidance(self.crops, self.cropped.sizes)
        drawn = normal_crops(self.scored.places, *borrowed, config.crops, config.seed)
        return normal_views(encoder, drawn, lambda done: None)


def prepare(
    config: Config,
    inputs: Inputs,
    folder: Path,
    parts: Parts | None = None,
    steps: Steps | None = None,
) -> Prepared:
    """Maps, regions and crops, found again where the same call made them before.

    Args:
        config: every setting.
        inputs: the data.
        folder: keeps what is made.
        parts: components given as objects; None = as configured.
        steps: of a published method; None = the product's own.
    """
    work = Workspace.open(folder, config.mask_outside_object, inputs.dataset.skipped)
    fit = Fit(config, inputs, work, parts, steps)
    scored = fit.score(fit.locate())
    return Prepared(fit, scored, fit.cut(scored))


def labelled_crops(labelled: LabelledSet, folder: Path, config: CropConfig) -> CropSet:
    """The largest region of each labelled image; kept in the folder."""
    work = Workspace.open(folder, mask_maps=False)
    return crop_labelled_set(labelled, config, Steps().crop_labelled, work)


def anomalous_crops(crops: CropSet, gate: NormalGate | None, cache: TokenCache) -> Tensor:
    """Whether each crop holds a region and, where it is unlabelled, does not look normal (n,)."""
    samples = Samples.of(crops)
    if gate is None:
        return samples.anomalous
    return samples.anomalous & ((samples.labels >= 0) | ~looks_normal(gate, cache))


def region_images(images: list[CroppedImage]) -> Tensor:
    """Number of each region's image (n,)."""
    return torch.tensor([i for i, image in enumerate(images) for _ in image.regions])


def region_areas(images: list[CroppedImage]) -> Tensor:
    """Area of each region, 0 = a whole image without one (n,), float64."""
    areas = [0.0 if r.whole_image else r.area for image in images for r in image.regions]
    return torch.tensor(areas, dtype=torch.float64)
