"""A model as a folder: model.json, model.safetensors, detector.safetensors.

The folder is complete: it holds the frozen network too, so that a model keeps working when the
package's embedded weights improve or a local model folder is gone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from protoanomalyncd.anomaly_maps import create
from protoanomalyncd.catalogue.catalogue import Catalogue
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import (
    ModelFormatError,
    NotFittedError,
    OutputError,
    ProtoAnomalyNCDError,
)
from protoanomalyncd.core.records import MapRange
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.discovery.outliers import create_outlier_score
from protoanomalyncd.localisation import create_localiser
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.prototypes.class_kappas import ClassKappas
from protoanomalyncd.storage.files import ensure_folder, read_json, write_json
from protoanomalyncd.storage.names import (
    FORMAT_VERSION,
    MODEL_CONFIG,
    MODEL_DETECTOR,
    MODEL_WEIGHTS,
)
from protoanomalyncd.storage.tensors import load_prefixed, read_tensors, write_tensors
from protoanomalyncd.vit import GuidedEncoder, restore_backbone

if TYPE_CHECKING:
    from protoanomalyncd.estimator import ProtoAnomalyNCD

    _Model = TypeVar("_Model", bound=ProtoAnomalyNCD)

__all__ = ["load_model", "save_model"]

_BESIDE_THE_TAIL = ("whitening", "patches", "descriptors")
"""Fitted parts of an encoder that a model may have or lack."""
_DETECTOR_BEFORE: dict[str, dict[str, Any]] = {
    "patch_memory": {"whitening": None, "smoothing": 0.0},
    "folder": {"coarse_smoothing": 0.0},
}
_BEFORE = {"descriptor_weight": 0.0, "patch_weight": 0.0, "whitening": None, "verify": 0.0}
"""What detectors and embeddings were in models that were written before these settings."""


def save_model(model: ProtoAnomalyNCD, folder: Path) -> Path:
    """Write a fitted model; an older model in the same folder is replaced as a whole.

    Raises:
        NotFittedError: nothing was fitted.
        OutputError: the folder cannot be written, or holds something that is no model.
    """
    classifier = model.classifier_
    source = model._source
    if source is None:
        raise NotFittedError("save_pretrained: call fit or from_pretrained first")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"model folder {folder}: expected a folder, got a file")
    if folder.exists() and any(folder.iterdir()) and not (folder / MODEL_CONFIG).is_file():
        raise OutputError(
            f"model folder {folder}: expected an empty folder or an older model, got other files"
        )
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    ensure_folder(temporary)
    try:
        tensors = {
            f"frozen/{k}": _narrow(v) for k, v in classifier.encoder.frozen.state_dict().items()
        }
        tensors |= {f"tail/{k}": v for k, v in classifier.encoder.tail.state_dict().items()}
        for name in _BESIDE_THE_TAIL:
            part = getattr(classifier.encoder, name)
            if part is not None:
                tensors |= {f"{name}/{k}": v for k, v in part.state_dict().items()}
        if classifier.normality is not None:
            gate = classifier.normality.state_dict()
            tensors |= {f"normality/{k}": v for k, v in gate.items()}
        tensors |= {f"outlier/{k}": v for k, v in classifier.outlier_score.state().items()}
        tensors["prototypes"] = classifier.head.weight
        write_tensors(temporary / MODEL_WEIGHTS, tensors)
        write_tensors(temporary / MODEL_DETECTOR, source.state())
        write_json(temporary / MODEL_CONFIG, _describe(model))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load_model(cls: type[_Model], folder: Path, device: str | None) -> _Model:
    """Read a model.

    Raises:
        ModelFormatError: the folder is incomplete, damaged, or of a newer version.
    """
    if not (folder / MODEL_CONFIG).is_file():
        raise ModelFormatError(
            f"model folder {folder}: expected {MODEL_CONFIG} in it, which is missing"
        )
    values = read_json(folder / MODEL_CONFIG)
    if values.get("format") != FORMAT_VERSION:
        raise ModelFormatError(
            f"model folder {folder}: expected format {FORMAT_VERSION}, "
            f"got {values.get('format')!r}; "
            "use the version of the package that wrote it"
        )
    try:
        return _build(cls, values, folder, device)
    except ProtoAnomalyNCDError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelFormatError(
            f"model folder {folder}: expected a complete model, got {reason}; save it again"
        ) from error


def _build(cls: type[_Model], values: dict[str, Any], folder: Path, device: str | None) -> _Model:
    for name, before in _BEFORE.items():
        values["config"]["embedding"].setdefault(name, before)
    config = Config.from_dict(values["config"])
    model = cls(config, device=device)
    tensors = read_tensors(folder / MODEL_WEIGHTS)
    backbone = restore_backbone(values["backbone"])
    load_prefixed(backbone.module(), tensors, "frozen/")
    encoder = GuidedEncoder(backbone, config.embedding)
    load_prefixed(encoder.tail, tensors, "tail/")
    for name in _BESIDE_THE_TAIL:
        if getattr(encoder, name) is not None:
            load_prefixed(getattr(encoder, name), tensors, f"{name}/")
    prototypes = tensors["prototypes"]
    base = tuple(values["base_classes"])
    head = PrototypeHead(
        prototypes.shape[1],
        len(base),
        len(prototypes) - len(base),
        config.prototypes.projection_dim,
    )
    head.weight.data = prototypes.clone()
    rejection = values["outliers"]
    outlier = create_outlier_score(rejection["score"], rejection["arguments"])
    outlier.load_state(
        {k.removeprefix("outlier/"): v for k, v in tensors.items() if k.startswith("outlier/")}
    )
    model._classifier = RegionClassifier(
        encoder.to(model.config.device).eval(),
        head.to(model.config.device).eval(),
        config.prototypes.temperature,
        outlier,
        rejection["threshold"],
        ClassKappas.from_dict(values["kappas"]) if values.get("kappas") else None,
        _normality(encoder, config.embedding.verify, tensors),
    )
    model._catalogue = Catalogue.from_dict(values["catalogue"])
    model._map_range = MapRange(**values["map_range"])
    model.base_classes_ = base
    detector = values["detector"]
    model._source = create(
        detector["name"],
        _DETECTOR_BEFORE.get(detector["name"], {}) | detector["arguments"],
        backbone=backbone,
        device=model.config.device,
        search=model.config.detector.search,
    )
    model._source.load_state(read_tensors(folder / MODEL_DETECTOR))
    localiser = values.get("localiser", {"name": "none", "arguments": {}})  # older models: none
    model._localiser = create_localiser(
        localiser["name"], localiser["arguments"], device=model.config.device
    )
    return model


def _normality(
    encoder: GuidedEncoder, share: float, tensors: dict[str, Tensor]
) -> NormalGate | None:
    """What tells regions that look normal, where the model has it."""
    if "normality/limit" not in tensors:
        return None
    gate = NormalGate(encoder.frozen_dim, share)
    load_prefixed(gate, tensors, "normality/")
    return gate.to(next(encoder.tail.parameters()).device)


def _describe(model: ProtoAnomalyNCD) -> dict[str, Any]:
    from protoanomalyncd import __version__

    source, localiser, classifier = model._source, model._localiser, model.classifier_
    if source is None or localiser is None:
        raise NotFittedError("save_pretrained: call fit or from_pretrained first")
    return {
        "format": FORMAT_VERSION,
        "version": __version__,
        "config": model.config.to_dict(),
        "backbone": classifier.encoder.backbone.record(),
        "base_classes": list(model.base_classes_),
        "catalogue": model.catalogue_.to_dict(),
        "map_range": {"low": model.map_range_.low, "high": model.map_range_.high},
        "detector": {"name": source.name, "arguments": source.arguments()},
        "localiser": {"name": localiser.name, "arguments": localiser.arguments()},
        "outliers": {
            "score": classifier.outlier_score.name,
            "arguments": classifier.outlier_score.arguments(),
            "threshold": classifier.threshold,
        },
        "kappas": None if classifier.kappas is None else classifier.kappas.to_dict(),
    }


def _narrow(tensor: Tensor) -> Tensor:
    """Half precision where that loses nothing (weights that came in half precision)."""
    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor
