"""From the features of regions to the `Discovery` that people read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from protoanomalyncd.core.records import Discovery
from protoanomalyncd.discovery.classifier import Classes
from protoanomalyncd.discovery.gather import gather
from protoanomalyncd.discovery.outliers import RegionFeatures
from protoanomalyncd.pipeline.evidence import StoredEvidence
from protoanomalyncd.pipeline.fitted_model import FittedModel
from protoanomalyncd.pipeline.stages import CroppedImage
from protoanomalyncd.pipeline.workspace import Workspace

__all__ = ["discovery_of"]


def discovery_of(
    model: FittedModel,
    images: Sequence[CroppedImage],
    features: RegionFeatures,
    work: Workspace,
    classes: Classes | None = None,
) -> Discovery:
    """Classes of images and regions, by the model's own ids.

    Args:
        model: fitted.
        images: with their regions.
        features: of all regions, in order.
        work: what the results rest on, and whom the call had to leave out.
        classes: which may win; None = as the model was fitted.
    """
    names = tuple(f"class {k}" for k in range(len(model.catalogue)))
    seed, classes = model.config.seed, classes or model.config.classes
    found, flat_map = gather(model.classifier, names, images, features, seed, classes)
    seconds = {f"seconds: {stage}": round(s, 1) for stage, s in work.seconds.items()}
    evidence = StoredEvidence(
        {image.sample.name: image.sample.path for image in images},
        work.maps,
        model.map_range,
        model.config.mebin,
        model.settings() | seconds,
        work.keeper,
        work.objects,
        flat_map,
    )
    return dataclasses.replace(
        found,
        skipped=tuple(sorted(work.skipped, key=lambda s: s.name)),
        notes=tuple(sorted(work.notes, key=lambda n: n.name)),
        evidence=evidence,
    )
