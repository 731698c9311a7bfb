"""A fitted model -> a folder that runs without torch: graph, ``export.json``, ``README.md``."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from protoanomalyncd.catalogue.catalogue import Catalogue
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.version import VERSION
from protoanomalyncd.deployment.engines import open_engine
from protoanomalyncd.deployment.formats import (
    check_packages,
    check_score,
    write_onnx,
    write_openvino,
)
from protoanomalyncd.deployment.graph import ClassifierGraph, exported_threshold
from protoanomalyncd.deployment.readme import readme
from protoanomalyncd.deployment.record import GRAPHS, RECORD, Record
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.merge_regions import SHARE_TEMPERATURE
from protoanomalyncd.pipeline.fitted_model import FittedModel
from protoanomalyncd.regions import anomaly_values
from protoanomalyncd.regions.crop_set import CropSet
from protoanomalyncd.regions.descriptors import DESCRIPTORS, NOTHING
from protoanomalyncd.storage.files import sha256_of, write_json, write_text
from protoanomalyncd.storage.staged_folder import StagedFolder

__all__ = ["export_model"]

LARGEST_DIFFERENCE = 1e-3
"""Between an output of the graph and of the model, above which an export is refused; relative
where the output is large."""


def export_model(
    model: FittedModel, folder: str | Path, kind: str = "onnx", *, overwrite: bool = False
) -> Path:
    """Write a fitted model as a graph with all that its use needs; see `Runtime`.

    The graph is run beside the model before the folder appears under its name.

    Args:
        model: model.
        folder: new or empty.
        kind: ``onnx`` or ``openvino``.
        overwrite: replace an earlier export in `folder`.

    Returns:
        `folder`.

    Raises:
        MissingDependencyError: a package of the extra ``export`` is absent.
        ConfigurationError: the backbone, the outlier score or the localiser cannot become a graph.
        OutputError: the folder holds other files, or cannot be written.
    """
    folder = Path(folder)
    check_packages(kind)
    if model.localiser.name != "none":
        raise ConfigurationError(
            f"export: expected a model without object localisation, got one fitted with "
            f"{model.localiser.name!r}; the graph takes no object masks yet"
        )
    with StagedFolder(folder, marker=RECORD, what="export folder", overwrite=overwrite) as staged:
        _write(model, kind, staged.results)
    return folder


def _write(model: FittedModel, kind: str, folder: Path) -> None:
    """Write all files of an export."""
    classifier, size = _in_float32(model.classifier), model.config.crops.size
    encoder = classifier.encoder
    check_score(classifier.outlier_score, (encoder.embed_dim, encoder.frozen_dim))
    _write_graph(ClassifierGraph(classifier, size).eval(), size, kind, folder)
    _compare(classifier, folder / GRAPHS[kind][0], kind, size)
    record = _describe(model, kind, folder)
    write_json(folder / RECORD, record.to_dict())
    write_text(folder / "README.md", readme(record))


def _in_float32(classifier: RegionClassifier) -> RegionClassifier:
    """The same classifier, its frozen blocks in float32; how the graph rounds, its engine says."""
    config = classifier.encoder.config
    if config.precision == "float32":
        return classifier
    encoder = copy.deepcopy(classifier.encoder)
    encoder.config = replace(config, precision="float32")
    return replace(classifier, encoder=encoder)


def _write_graph(graph: ClassifierGraph, crop_size: int, kind: str, folder: Path) -> None:
    onnx = folder / GRAPHS["onnx"][0]
    write_onnx(graph, crop_size, onnx)
    if kind == "openvino":
        write_openvino(onnx, folder / GRAPHS[kind][0])
        onnx.unlink()


def _compare(classifier: RegionClassifier, path: Path, kind: str, crop_size: int) -> None:
    """Run the graph beside the model's own code on three crops of noise.

    Raises:
        ConfigurationError: they differ.
    """
    rng = np.random.default_rng(0)
    shape = (3, crop_size, crop_size)
    images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    maps = rng.random(shape, dtype=np.float32)
    crops = CropSet.build(
        [(image, amap > 0.8, amap) for image, amap in zip(images, maps, strict=True)],
        [1.0] * 3,
        [-1] * 3,
        ["0", "1", "2"],
        [dict.fromkeys(DESCRIPTORS, 0.3), dict.fromkeys(DESCRIPTORS, -0.2), NOTHING],
    )
    regions = classifier.classify(classifier.features(crops))
    # Not the ids: between two equally likely classes the last bit decides.
    expected = {
        "embedding": regions.embeddings,
        "probabilities": regions.probabilities,
        "outlier_score": regions.outlier_scores,
    }
    inputs: dict[str, np.ndarray] = {
        "image": images,
        "anomaly": anomaly_values(np.asarray(crops.masks), np.asarray(crops.maps)),
    }
    if classifier.encoder.descriptors is not None:
        inputs["descriptors"] = crops.descriptors
    engine = open_engine(path, kind)
    for rows in (slice(0, 2), slice(2, 3)):
        found = engine.run({name: values[rows] for name, values in inputs.items()})
        for name, wanted in expected.items():
            own = wanted[rows].numpy()
            apart = float(np.abs(found[name] - own).max() / max(1.0, np.abs(own).max()))
            if not apart <= LARGEST_DIFFERENCE:
                raise ConfigurationError(
                    f"export to {kind}: expected a graph that computes what the model does, but "
                    f"its {name} differs by {apart:.2g}; this kind of model cannot be exported yet"
                )


def _novel_classes(
    catalogue: Catalogue, n_novel: int
) -> tuple[tuple[str, ...], tuple[int, ...], int | None]:
    """Names, mergers and normal class of the novel classes: a graph answers with no others.

    Those that were merged into a labelled class stand together at the first of them, under its
    name.
    """
    target = catalogue.target[:n_novel]
    counts_as = tuple(t if t < n_novel else target.index(t) for t in target)
    normal = catalogue.normal_class
    if normal is not None and normal >= n_novel:
        normal = target.index(normal)
    told = (
        catalogue.own_names[k] if target[k] < n_novel else catalogue.names[k]
        for k in range(n_novel)
    )
    return tuple(told), counts_as, normal


def _describe(model: FittedModel, kind: str, folder: Path) -> Record:
    config, classifier, files = model.config, model.classifier, GRAPHS[kind]
    encoder = classifier.encoder
    names, counts_as, normal = _novel_classes(model.catalogue, classifier.head.n_novel)
    return Record(
        graph=files[0],
        kind=kind,
        files={name: sha256_of(folder / name) for name in files},
        names=names,
        counts_as=counts_as,
        normal_class=normal,
        crop_size=config.crops.size,
        window=encoder.config.input_size,
        embed_dim=encoder.embed_dim,
        descriptors=() if encoder.descriptors is None else DESCRIPTORS,
        map_range=model.map_range,
        maps_from=model.detector.name,
        coarse_smoothing=float(model.detector.arguments().get("coarse_smoothing", 0.0)),
        mebin=config.mebin,
        crops=config.crops,
        merge_temperature=SHARE_TEMPERATURE,
        outlier_score=classifier.outlier_score.name,
        threshold=exported_threshold(classifier.threshold),
        backbone=Path(encoder.backbone.name).name,
        version=VERSION,
    )
