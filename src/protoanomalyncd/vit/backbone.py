"""Backbones by name: the embedded one, a folder, a model of the hub, another package's.

A package offers its own by an entry point of the group ``protoanomalyncd.backbones``: an object
that takes one text, what stands behind the colon in ``NAME:ARGUMENT`` (or nothing), and returns a
`Backbone`, and that has ``restore(record)``, which rebuilds it without weights. The backbone's
record says ``{"kind": "plugin", "plugin": NAME}`` beside what ``restore`` needs.
"""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from protoanomalyncd.core.errors import (
    ConfigurationError,
    MissingDependencyError,
    ModelFormatError,
    ProtoAnomalyNCDError,
)
from protoanomalyncd.vit.base import Backbone

__all__ = ["GROUP", "create_backbone", "restore_backbone"]

GROUP = "protoanomalyncd.backbones"
"""Entry points of other packages' backbones."""


def create_backbone(name: str) -> Backbone:
    """Build a backbone with its pretrained weights.

    Args:
        name: ``embedded`` (ships with the package), ``local-dir:FOLDER`` (a timm model folder with
            ``config.json`` and ``model.safetensors``), ``NAME`` or ``NAME:ARGUMENT`` of an entry
            point, or the name of a timm model, which is downloaded from the hub.

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
        return _with_weights(f"local-dir:{embedded.WEIGHTS_DIR}", embedded.EMBEDDED, {}, name)
    if name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
        # No path of this machine goes into a saved model.
        return _with_weights(name, *_folder_config(folder), folder.resolve().name)
    bare = name.removeprefix("hf-hub:").removeprefix("hf_hub:")
    if bare != name:
        return _with_weights(name, *_hub_config(bare, name), name)
    plugin, _, argument = name.partition(":")
    if (offered := _offered(plugin)) is not None:
        return _of_plugin(plugin, offered(argument))
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        others = "".join(f", {entry.name!r}" for entry in entry_points(group=GROUP))
        raise ConfigurationError(
            f"unknown backbone {name!r}: expected 'embedded', 'local-dir:FOLDER'{others} or the "
            "name of a timm model"
        )
    return _with_weights(name, architecture, {}, name)


def restore_backbone(record: dict[str, Any]) -> Backbone:
    """Rebuild a saved architecture without pretrained weights; load them into `Backbone.module`.

    A record is not trusted: it builds architectures that timm or an installed entry point knows, by
    numbers and listed words; it opens no file and asks no hub.

    Args:
        record: of `Backbone.record`.

    Raises:
        ModelFormatError: the record is not one that this package writes.
        MissingDependencyError: the entry point is not installed.
    """
    if record.get("kind") == "plugin":
        name = str(record.get("plugin"))
        offered = _offered(name)
        if offered is None:
            raise MissingDependencyError(
                f"the saved model's backbone: expected an entry point {name!r} of the group "
                f"{GROUP}, found none; install the package that offers it"
            )
        build = offered.restore
    else:
        from protoanomalyncd.vit.timm_record import refusal

        if reason := refusal(record):
            raise ModelFormatError(f"the saved model's backbone: {reason}; save it again")
        build = _build
    try:
        backbone: Backbone = build(record)
    except ProtoAnomalyNCDError:
        raise
    except Exception as error:  # timm and torch raise many kinds, other packages any
        raise ModelFormatError(
            "the saved model's backbone: expected a complete record, got: "
            f"{_first_line(error)}; save it again"
        ) from error
    return backbone


def _build(record: dict[str, Any], source: str | None = None) -> Backbone:
    """A vision transformer is a `ViTBackbone`, the rest a `CNNBackbone`."""
    from protoanomalyncd.vit.timm_cnn import CNNBackbone
    from protoanomalyncd.vit.timm_vit import ViTBackbone

    kind = ViTBackbone if record["kind"] == "vit" else CNNBackbone
    return kind.from_record(record, source)


def _offered(name: str) -> Any:
    """What another package offers under a name, or None.

    Raises:
        MissingDependencyError: it cannot be imported.
    """
    entry = next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is None:
        return None
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f"backbone {name!r}: the entry point {entry.value} of the group {GROUP} cannot be "
            f"imported ({_first_line(error)}); install its package again"
        ) from error


def _of_plugin(name: str, backbone: Backbone) -> Backbone:
    """The backbone, if it can be restored."""
    said = {key: backbone.record().get(key) for key in ("kind", "plugin")}
    if said != (needed := {"kind": "plugin", "plugin": name}):
        raise ConfigurationError(
            f"backbone {name!r}: expected a record with {needed}, got {said}; "
            "a saved model could not restore it"
        )
    return backbone


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


def _with_weights(source: str, architecture: str, arguments: dict[str, Any], name: str) -> Backbone:
    """Build from where timm finds the weights."""
    from protoanomalyncd.vit.timm_record import refusal

    kind = "vit" if "vision_transformer" in _family(architecture) else "cnn"
    record = {"kind": kind, "architecture": architecture, "arguments": arguments, "name": name}
    if reason := refusal(record):
        raise ConfigurationError(f"backbone {name!r}: {reason}; take another model")
    try:
        return _build(record, source)
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

    from protoanomalyncd.vit.embedded import EMBEDDED

    if architecture == EMBEDDED:
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
