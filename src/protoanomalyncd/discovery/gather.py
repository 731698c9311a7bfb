"""From embeddings to the records that people read: a `Discovery`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from protoanomalyncd.core.records import (
    Discovery,
    ImageResult,
    Region,
    RegionResult,
    Sample,
)
from protoanomalyncd.discovery.classifier import (
    Classes,
    ImageScores,
    RegionClassifier,
    RegionScores,
)
from protoanomalyncd.discovery.layout2d import FlatMap
from protoanomalyncd.discovery.outliers import RegionFeatures

__all__ = ["gather"]


class _Cropped(Protocol):
    @property
    def sample(self) -> Sample: ...
    @property
    def regions(self) -> tuple[Region, ...]: ...
    @property
    def descriptors(self) -> tuple[Mapping[str, float], ...]: ...
    @property
    def anomaly_score(self) -> float: ...


def gather(
    classifier: RegionClassifier,
    class_names: tuple[str, ...],
    found: Sequence[_Cropped],
    features: RegionFeatures,
    seed: int,
    classes: Classes = "novel",
) -> tuple[Discovery, FlatMap]:
    """Classify regions, merge them into images, and sort everything by name.

    Args:
        classifier: fitted.
        class_names: of the novel classes, then of the known ones.
        found: images with their regions.
        features: of all regions, in the order of `found`.
        seed: of the flat map, which is drawn when a report asks for it.
        classes: which may win.
    """
    if not found:
        return Discovery(class_names, (), ()), FlatMap(features.embeddings, (), seed)
    image_index = torch.tensor([i for i, image in enumerate(found) for _ in image.regions])
    areas = torch.tensor(
        [0.0 if r.whole_image else r.area for image in found for r in image.regions],
        dtype=torch.float64,
    )
    regions = classifier.classify(features, classes)
    merged = classifier.merge(regions, image_index, areas)
    shares = merged.probabilities.tolist()
    images = [_image(found[i], merged, i, tuple(shares[i])) for i in range(len(found))]
    rows = _regions(found, regions)
    by_name = sorted(range(len(rows)), key=lambda r: (rows[r].region.image, rows[r].region.index))
    discovery = Discovery(
        class_names,
        tuple(sorted(images, key=lambda i: i.name)),
        tuple(rows[r] for r in by_name),
    )
    return discovery, FlatMap(features.embeddings, tuple(by_name), seed)


def _image(
    image: _Cropped, scores: ImageScores, i: int, probabilities: tuple[float, ...]
) -> ImageResult:
    return ImageResult(
        name=image.sample.name,
        path=image.sample.path,
        class_id=int(scores.class_ids[i]),
        confidence=max(probabilities),
        outlier_score=float(scores.outlier_scores[i]),
        anomaly_score=image.anomaly_score,
        n_regions=sum(not region.whole_image for region in image.regions),
        true_class=image.sample.label,
        probabilities=probabilities,
    )


def _regions(found: Sequence[_Cropped], scores: RegionScores) -> list[RegionResult]:
    flat = [
        (region, d)
        for image in found
        for region, d in zip(image.regions, image.descriptors, strict=True)
    ]
    shares = scores.probabilities.tolist()
    return [
        RegionResult(
            region=region,
            class_id=int(scores.class_ids[r]),
            confidence=max(shares[r]),
            outlier_score=float(scores.outlier_scores[r]),
            descriptors=descriptors,
            probabilities=tuple(shares[r]),
        )
        for r, (region, descriptors) in enumerate(flat)
    ]
