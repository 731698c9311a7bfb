"""A fitted model as a folder: model.json, model.safetensors, detector.safetensors.

The folder is complete: it holds the frozen network too, so that a model keeps working when the
package's embedded weights improve or a local model folder is gone.

It may come from somebody else, so it is not trusted: nothing outside of it is opened and no network
is asked for, its files must be those that ``model.json`` was written with, numbers must be finite,
and what it builds are registered components with options that they have. Paths of the machine that
fitted it are not written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protoanomalyncd.anomaly_maps import DETECTORS
from protoanomalyncd.catalogue import Catalogue
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ModelFormatError, ProtoAnomalyNCDError
from protoanomalyncd.core.records import MapRange
from protoanomalyncd.core.version import VERSION
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.discovery.outliers import SCORES, RegionFeatures
from protoanomalyncd.localisation import LOCALISERS
from protoanomalyncd.pipeline.fitted_model import FittedModel
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.storage.files import own_file, read_json, sha256_of, write_json
from protoanomalyncd.storage.names import (
    FORMAT_VERSION,
    MODEL_CONFIG,
    MODEL_DETECTOR,
    MODEL_WEIGHTS,
)
from protoanomalyncd.storage.staged_folder import StagedFolder
from protoanomalyncd.storage.tensors import load_prefixed, read_tensors, write_tensors
from protoanomalyncd.vit import GuidedEncoder, restore_backbone

__all__ = ["load_model", "save_model"]

_FILES = (MODEL_WEIGHTS, MODEL_DETECTOR)
_BESIDE_THE_TAIL = ("whitening", "patches", "descriptors")
"""Fitted parts of an encoder that a model may have or lack."""


def save_model(model: FittedModel, folder: Path) -> Path:
    """Write a model; an older model in the same folder is replaced as a whole.

    Raises:
        OutputError: the folder cannot be written, or holds something that is no model.
    """
    with StagedFolder(folder, marker=MODEL_CONFIG, what="model folder", overwrite=True) as staged:
        write_tensors(staged.results / MODEL_WEIGHTS, _tensors(model.classifier))
        write_tensors(staged.results / MODEL_DETECTOR, model.detector.state())
        files = {name: sha256_of(staged.results / name) for name in _FILES}
        write_json(staged.results / MODEL_CONFIG, {**_describe(model), "files": files})
    return folder


def load_model(
    folder: Path, device: str | None = None, localiser: Mapping[str, Any] | None = None
) -> FittedModel:
    """Read a model.

    Args:
        folder: written by `save_model`.
        device: instead of the one that it was fitted on.
        localiser: options that a model does not keep: where the networks of its object localiser
            are on this machine (``box_detector``, ``segmenter``).

    Raises:
        ModelFormatError: the folder is incomplete, damaged, or of another version.
        ConfigurationError: its localiser needs an option that was not given, or lacks a given one.
        MissingDependencyError: a component's package is not installed.
    """
    if not (folder / MODEL_CONFIG).is_file():
        raise ModelFormatError(
            f"model folder {folder}: expected {MODEL_CONFIG} in it, which is missing"
        )
    values = read_json(own_file(folder, MODEL_CONFIG))
    if values.get("format") != FORMAT_VERSION:
        raise ModelFormatError(
            f"{folder / MODEL_CONFIG}: expected format {FORMAT_VERSION}, "
            f"got {str(values.get('format'))[:40]}; use the version of the package that wrote it, "
            "or fit again"
        )
    try:
        return _build(values, folder, device, dict(localiser or {}))
    except ProtoAnomalyNCDError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelFormatError(
            f"model folder {folder}: expected a complete model, got {reason}; save it again"
        ) from error


def _build(
    values: dict[str, Any], folder: Path, device: str | None, places: dict[str, Any]
) -> FittedModel:
    config = Config.from_dict(values["config"] | ({} if device is None else {"device": device}))
    tensors, learned = (_own_tensors(folder, name, values) for name in _FILES)
    classifier = _classifier(values, config, tensors)
    backbone, device = classifier.encoder.backbone, config.device
    detector = DETECTORS.restore(values["detector"], backbone=backbone, device=device)
    detector.load_state(learned)
    found = values["localiser"]
    found = {**found, "arguments": {**found["arguments"], **places}}
    return FittedModel(
        config,
        tuple(values["base_classes"]),
        detector,
        LOCALISERS.restore(found, device=device),
        MapRange(**values["map_range"]),
        classifier,
        Catalogue.from_dict(values["catalogue"]),
    )


def _own_tensors(folder: Path, name: str, values: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors of a file that is the one that was saved; all of them finite.

    Raises:
        ModelFormatError: it is missing, another one, or holds a number that is none.
    """
    path = own_file(folder, name)
    if sha256_of(path) != values["files"][name]:
        raise ModelFormatError(
            f"{path}: expected the file that was saved, got another or a damaged one; copy it again"
        )
    tensors = read_tensors(path)
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelFormatError(f"{path}: expected finite numbers in {key[:80]}, got others")
    return tensors


def _classifier(
    values: dict[str, Any], config: Config, tensors: dict[str, Tensor]
) -> RegionClassifier:
    backbone = restore_backbone(values["backbone"])
    load_prefixed(backbone.module(), tensors, "frozen/")
    encoder = GuidedEncoder(backbone, config.embedding)
    load_prefixed(encoder.tail, tensors, "tail/")
    for name in _BESIDE_THE_TAIL:
        if getattr(encoder, name) is not None:
            load_prefixed(getattr(encoder, name), tensors, f"{name}/")
    prototypes, n_base = tensors["prototypes"], len(values["base_classes"])
    head = PrototypeHead(prototypes.shape[1], n_base, len(prototypes) - n_base)
    head.weight.data = prototypes.clone()
    rejection = values["outliers"]
    score = SCORES.restore(rejection["score"])
    score.load_state(
        {k.removeprefix("outlier/"): v for k, v in tensors.items() if k.startswith("outlier/")}
    )
    classifier = RegionClassifier(
        encoder.to(config.device).eval(),
        head.to(config.device).eval(),
        config.prototypes.temperature,
        score,
        None if rejection["threshold"] is None else float(rejection["threshold"]),
        _normality(encoder, config, tensors),
        has_normal=values["catalogue"]["normal_class"] is not None,
    )
    _try(classifier)
    return classifier


def _try(classifier: RegionClassifier) -> None:
    """Ask for the class of one made-up region: shapes must fit, and the answer be finite.

    Raises:
        ValueError: it is not.
    """
    encoder, threshold = classifier.encoder, classifier.threshold
    rows = (torch.ones(1, width) / width**0.5 for width in (encoder.embed_dim, encoder.frozen_dim))
    answer = classifier.classify(RegionFeatures(*rows))
    numbers = torch.cat([answer.probabilities.flatten(), answer.outlier_scores.flatten()])
    if not bool(torch.isfinite(numbers).all()) or (threshold and not math.isfinite(threshold)):
        raise ValueError("probabilities, scores or a threshold that are not finite")


def _normality(
    encoder: GuidedEncoder, config: Config, tensors: dict[str, Tensor]
) -> NormalGate | None:
    """What tells regions that look normal, where the model has it."""
    if "normality/limit" not in tensors:
        return None
    gate = NormalGate(encoder.frozen_dim, config.embedding.normal_gate_quantile)
    load_prefixed(gate, tensors, "normality/")
    return gate.to(config.device)


def _tensors(classifier: RegionClassifier) -> dict[str, Tensor]:
    encoder = classifier.encoder
    parts = {"tail": encoder.tail} | {name: getattr(encoder, name) for name in _BESIDE_THE_TAIL}
    parts["normality"] = classifier.normality
    tensors = {f"frozen/{k}": _narrow(v) for k, v in encoder.frozen.state_dict().items()}
    for name, part in parts.items():
        if part is not None:
            tensors |= {f"{name}/{k}": v for k, v in part.state_dict().items()}
    tensors |= {f"outlier/{k}": v for k, v in classifier.outlier_score.state().items()}
    return tensors | {"prototypes": classifier.head.weight}


def _describe(model: FittedModel) -> dict[str, Any]:
    classifier, localiser, detector = model.classifier, model.localiser, model.detector
    described = {
        "format": FORMAT_VERSION,
        "version": VERSION,
        "config": model.config.to_dict(),
        "backbone": classifier.encoder.backbone.record(),
        "base_classes": list(model.base_classes),
        "catalogue": model.catalogue.to_dict(),
        "map_range": {"low": model.map_range.low, "high": model.map_range.high},
        "detector": DETECTORS.record(detector),
        "localiser": LOCALISERS.record(localiser),
        "outliers": {
            "score": SCORES.record(classifier.outlier_score),
            "threshold": classifier.threshold,
        },
    }
    return {name: _without_places(value) for name, value in described.items()}


def _without_places(value: Any) -> Any:
    """The same without paths of this machine: of a folder or file its own name is left."""
    if isinstance(value, dict):
        return {name: _without_places(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(part) for part in value]
    if not isinstance(value, str):
        return value
    prefix, colon, place = value.rpartition("local-dir:")
    if colon or Path(place).is_absolute():
        return f"{prefix}{colon}{Path(place).name}"
    return value


def _narrow(tensor: Tensor) -> Tensor:
    """Half precision where that loses nothing (weights that came in half precision)."""
    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor
