"""Backbones by name: the embedded one, a folder, a model of the hub; and again from a saved model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protoanomalyncd.core.errors import (
    ConfigurationError,
    MissingDependencyError,
    ProtoAnomalyNCDError,
)
from protoanomalyncd.vit.base import Backbone

__all__ = ["create_backbone", "restore_backbone"]

EMBEDDED_ARCHITECTURE = "protoanomalyncd_embedded"


def create_backbone(name: str) -> Backbone:
    """Build a backbone with its pretrained weights.

    Args:
        name: ``embedded`` (ships with the package), ``local-dir:FOLDER`` (a timm model folder with
            ``config.json`` and ``model.safetensors``), or the name of a timm model, which is
            downloaded from the hub.

    Raises:
        ConfigurationError: the name is unknown, or the folder is no model folder.
        MissingDependencyError: the weights cannot be fetched (no internet).
    """
    import timm

    from protoanomalyncd.vit import embedded

    if name == "embedded":
        weights = embedded.WEIGHTS_DIR / "model.safetensors"
        if not weights.is_file():
            raise MissingDependencyError(
                f"the embedded backbone's weights are missing: expected {weights}; "
                "reinstall the package"
            )
        return _wrap(f"local-dir:{embedded.WEIGHTS_DIR}", EMBEDDED_ARCHITECTURE, {}, name)
    if name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
        return _wrap(name, *_folder_config(folder), name)
    bare = name.removeprefix("hf-hub:").removeprefix("hf_hub:")
    if bare != name:
        return _wrap(name, *_hub_config(bare, name), name)
    if not timm.is_model(name.partition(".")[0]):
        raise ConfigurationError(
            f"unknown backbone {name!r}: expected 'embedded', 'local-dir:FOLDER' or the name of a "
            "timm model"
        )
    return _wrap(name, name.partition(".")[0], {}, name)


def restore_backbone(record: dict[str, Any]) -> Backbone:
    """Rebuild a saved architecture without pretrained weights; load them into `Backbone.module`."""
    return _KINDS[record["kind"]](record, False)


def _folder_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """Architecture and its arguments, as timm reads them."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise ConfigurationError(
                f"backbone folder {folder}: expected config.json and model.safetensors "
                "(a timm model folder), "
                f"but {file.name} is missing"
            )
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        return str(values["architecture"]), dict(values.get("model_args") or {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{config}: expected JSON with an 'architecture', got {error!r}"
        ) from error


def _hub_config(identifier: str, name: str) -> tuple[str, dict[str, Any]]:
    """The same of a model on the hub: a saved model is restored without it."""
    from timm.models import load_model_config_from_hf

    try:
        _, architecture, arguments = load_model_config_from_hf(identifier)
    except Exception as error:  # the hub's client raises many kinds, some of them of its own tree
        raise _not_fetched(name, error) from error
    return str(architecture), dict(arguments or {})


def _wrap(source: str, architecture: str, arguments: dict[str, Any], name: str) -> Backbone:
    """Build with weights: a vision transformer is a `ViTBackbone`, the rest a `CNNBackbone`."""
    kind = "vit" if "vision_transformer" in _family(architecture) else "cnn"
    record = {
        "kind": kind,
        "source": source,
        "architecture": architecture,
        "arguments": arguments,
        "name": name,
    }
    try:
        return _KINDS[kind](record, True)
    except ProtoAnomalyNCDError:
        raise
    except Exception as error:  # timm, torch, safetensors and the hub's client raise many kinds
        if source.startswith("local-dir:"):
            raise ConfigurationError(
                f"backbone {name!r}: expected weights that fit the architecture "
                f"{architecture!r}, got: "
                f"{_first_line(error)}"
            ) from error
        raise _not_fetched(name, error) from error


def _not_fetched(name: str, error: Exception) -> MissingDependencyError:
    return MissingDependencyError(
        f"backbone {name!r} cannot be fetched ({_first_line(error)}); "
        "without internet use 'embedded', or copy the "
        "model's config.json and model.safetensors into a folder and use 'local-dir:FOLDER'"
    )


def _family(architecture: str) -> str:
    import timm

    if architecture == EMBEDDED_ARCHITECTURE:
        return "vision_transformer"
    try:
        return str(timm.model_entrypoint(architecture).__module__)
    except (RuntimeError, KeyError) as error:
        raise ConfigurationError(
            f"backbone: expected an architecture that timm knows, got {architecture!r}; "
            "update timm, or take another model"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    # torch names the module first and the trouble on the next line
    return " ".join(line.strip() for line in lines[:2])[:200] or type(error).__name__


def _vit(record: dict[str, Any], pretrained: bool) -> Backbone:
    from protoanomalyncd.vit.timm_vit import ViTBackbone

    return ViTBackbone.from_record(record, pretrained)


def _cnn(record: dict[str, Any], pretrained: bool) -> Backbone:
    from protoanomalyncd.vit.timm_cnn import CNNBackbone

    return CNNBackbone.from_record(record, pretrained)


_KINDS: dict[str, Callable[[dict[str, Any], bool], Backbone]] = {"vit": _vit, "cnn": _cnn}
