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
from protoanomalyncd.datasets import Dataset, LabelledSet
from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.metrics import ClusterMetrics, evaluate
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.localisation.choice import choose_localiser
from protoanomalyncd.pipeline.fit import Fit
from protoanomalyncd.pipeline.stages import CroppedImage
from protoanomalyncd.training import CropSet
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from research.studies.clustering import agglomerative, gcd_kmeans, kmeans
from research.studies.features import class_tokens, map_weighted
from research.studies.study import Row

__all__ = ["Inputs", "Run", "run_row"]


@dataclass(frozen=True)
class Inputs:
    """The data of a study.

    Args:
        dataset: images in which classes are discovered.
        labelled: base set.
        maps: folder of given anomaly maps.
        object_masks: folder of masks that say where the object is.
    """

    dataset: Dataset
    labelled: LabelledSet | None
    maps: Path | None
    object_masks: Path | None = None


@dataclass(frozen=True)
class Run:
    """What one run found.

    Args:
        metrics: agreement of the images' classes with the folder names.
        model: fitted, where the whole method ran.
    """

    metrics: ClusterMetrics
    model: ProtoAnomalyNCD | None = None


def run_row(row: Row, config: Config, inputs: Inputs, work: Path, progress: Progress) -> Run:
    """Run one row with one seed.

    Args:
        row: method and features.
        config: every setting, the seed included.
        inputs: data.
        work: folder of the intermediate results.
        progress: called with (stage, steps done, steps in all).

    Raises:
        DatasetError: no image has a class to compare with.
    """
    model = ProtoAnomalyNCD(config)
    if row.method != "discover":
        return Run(_compare(inputs, _cluster(row, config, inputs, work, progress, model)))
    model.fit(
        inputs.dataset,
        labelled=inputs.labelled,
        maps=inputs.maps,
        object_masks=inputs.object_masks,
        work_dir=work,
        on_progress=progress,
    )
    found = {image.name: image.class_id for image in model.discovery_.images}
    return Run(_compare(inputs, found), model)


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


def _cluster(
    row: Row,
    config: Config,
    inputs: Inputs,
    work: Path,
    progress: Progress,
    model: ProtoAnomalyNCD,
) -> dict[str, int]:
    """Class of each image, from clustering features."""
    fit = Fit(config, work, progress, list(inputs.dataset.skipped))
    backbone = create_backbone(config.embedding.backbone)
    localiser = choose_localiser(
        config.localiser, inputs.dataset.root.name, inputs.object_masks, config.device
    )
    fit.locate(localiser, inputs.dataset)
    source = model._create_source(backbone, inputs.dataset, inputs.maps)
    ordered, store = fit.score(source, inputs.dataset)
    if row.features == "map_weighted":
        samples = [sample for _, sample in ordered if sample.name in store]
        size = int(config.detector.options.get("image_size", 256))
        points = map_weighted(backbone, samples, store, size, config.device)
        ids = _assign(row, points, None, None, config)
        return {sample.name: int(k) for sample, k in zip(samples, ids, strict=True)}
    found, crops, known = fit.cut(ordered, store, inputs.labelled)
    if row.features == "trained":
        encoder, _, _ = fit.learn(backbone, crops, known)
    else:
        mode = GuidanceConfig(mode="none" if row.features == "unguided" else "hard")
        embedding = dataclasses.replace(
            config.embedding,
            guidance=mode,
            descriptor_weight=0.0,
            patch_weight=0.0,
            whitening=None,
        )
        encoder = GuidedEncoder(backbone, embedding).to(config.device)
    points = class_tokens(encoder, crops)
    others = None if known is None else class_tokens(encoder, known)
    return _images(found, _assign(row, points, others, known, config), _given(config))


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
