"""One run of one row: the whole method, or features and a plain clustering."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.config import Config, GuidanceConfig
from protoanomalyncd.core.errors import ConfigurationError, DatasetError
from protoanomalyncd.core.records import Progress
from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.metrics import ClusterMetrics, evaluate
from protoanomalyncd.pipeline.fit import Fit
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.pipeline.milestones import FitResult
from protoanomalyncd.pipeline.stages import CroppedImage
from protoanomalyncd.pipeline.steps import Steps
from protoanomalyncd.pipeline.workspace import Workspace
from protoanomalyncd.training import CropSet
from protoanomalyncd.vit import GuidedEncoder
from research.studies.clustering import agglomerative, gcd_kmeans, kmeans
from research.studies.features import class_tokens, map_weighted
from research.studies.study import Row

__all__ = ["Run", "run_row"]


@dataclass(frozen=True)
class Run:
    """What one run found.

    Args:
        metrics: agreement of the images' classes with the folder names.
        steps: with which it was made.
        result: model and discovery, where the whole method ran.
    """

    metrics: ClusterMetrics
    steps: Steps
    result: FitResult | None = None


def run_row(
    row: Row, config: Config, steps: Steps, inputs: Inputs, work: Path, progress: Progress
) -> Run:
    """Run one row with one seed.

    Args:
        row: method and features.
        config: every setting, the seed included.
        steps: those of a published method, or this program's own.
        inputs: data.
        work: folder of the intermediate results.
        progress: called with (stage, steps done, steps in all).

    Raises:
        DatasetError: no image has a class to compare with.
    """
    masked, skipped = config.mask_outside_object, inputs.dataset.skipped
    fit = Fit(config, inputs, Workspace.open(work, masked, skipped, progress), steps=steps)
    if row.method != "discover":
        return Run(_compare(inputs, _cluster(row, fit)), steps)
    result = fit.run()
    found = {image.name: image.class_id for image in result.discovery.images}
    return Run(_compare(inputs, found), steps, result)


def _compare(inputs: Inputs, found: Mapping[str, int]) -> ClusterMetrics:
    pairs = [
        (sample.label, found[sample.name])
        for sample in inputs.dataset.unlabelled
        if sample.label is not None and sample.name in found
    ]
    if not pairs:
        raise DatasetError(
            f"{inputs.dataset.root}: expected images in test/<type>, whose names the metrics "
            "compare with, got no image with a type"
        )
    return evaluate([label for label, _ in pairs], [class_id for _, class_id in pairs])


def _cluster(row: Row, fit: Fit) -> dict[str, int]:
    """Class of each image, from clustering features."""
    config, store = fit.config, fit.work.maps
    scored = fit.score(fit.locate())
    if row.features == "map_weighted":
        samples = [sample for _, sample in scored.ordered if sample.name in store]
        size, device = int(config.detector.options.get("image_size", 256)), config.device
        points = map_weighted(fit.backbone, samples, store, size, device)
        ids = _assign(row, points, None, None, config)
        return {sample.name: int(k) for sample, k in zip(samples, ids, strict=True)}
    cropped = fit.cut(scored)
    known = cropped.known
    if row.features == "trained":
        encoder = fit.learn(scored, cropped).encoder
    else:
        mode = GuidanceConfig(mode="none" if row.features == "unguided" else "hard")
        embedding = dataclasses.replace(
            config.embedding,
            guidance=mode,
            descriptor_weight=0.0,
            patch_weight=0.0,
            whitening=None,
        )
        encoder = GuidedEncoder(fit.backbone, embedding).to(config.device)
    points = class_tokens(encoder, cropped.crops)
    others = None if known is None else class_tokens(encoder, known)
    return _images(cropped.images, _assign(row, points, others, known, config), _given(config))


def _assign(
    row: Row, points: Tensor, others: Tensor | None, known: CropSet | None, config: Config
) -> np.ndarray:
    values, n_classes = points.double().numpy(), _given(config)
    if len(values) < n_classes:
        raise DatasetError(
            f"row {row.name!r}: expected at least as many regions as classes ({n_classes}), "
            f"got {len(values)}"
        )
    if row.method == "kmeans":
        return kmeans(values, n_classes, config.seed)
    if row.method == "agglomerative":
        return agglomerative(values, n_classes)
    if others is None or known is None:
        others, labels = points[:0], np.zeros(0, np.int64)
    else:
        labels = np.asarray(known.labels, np.int64)
    return gcd_kmeans(values, others.double().numpy(), labels, n_classes, config.seed)


def _given(config: Config) -> int:
    """The number of classes, which a clustering baseline does not estimate."""
    if config.n_novel_classes == "auto":
        raise ConfigurationError(
            "n_novel_classes: expected a number for a clustering baseline, got 'auto'; give one"
        )
    return config.n_novel_classes


def _images(found: Sequence[CroppedImage], ids: np.ndarray, n_classes: int) -> dict[str, int]:
    """Classes of regions -> classes of images, merged as the method merges them."""
    index = torch.tensor([i for i, image in enumerate(found) for _ in image.regions])
    areas = torch.tensor(
        [0.0 if r.whole_image else r.area for image in found for r in image.regions],
        dtype=torch.float64,
    )
    one_hot = torch.eye(n_classes, dtype=torch.float64)[torch.from_numpy(ids)]
    merged = merge_regions(one_hot, index, areas).argmax(dim=1).tolist()
    return {image.sample.name: int(k) for image, k in zip(found, merged, strict=True)}
