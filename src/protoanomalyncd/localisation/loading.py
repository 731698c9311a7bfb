"""Models of transformers, from a local folder or the hub; every failure is one line.

Nothing is downloaded unless the user names a model of the hub; a folder is read without asking it.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from protoanomalyncd.core.errors import ConfigurationError, MissingDependencyError, reason

__all__ = ["LOCAL", "load_model", "model_type"]

LOCAL = "local-dir:"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")


def model_type(setting: str, source: str, examples: str) -> str:
    """Kind of a model by its ``config.json``, such as ``sam`` or ``sam2``.

    Args:
        setting: name of the setting, for messages.
        source: ``local-dir:FOLDER`` or the name of a model on the hub.
        examples: models that would fit, for messages.

    Raises:
        MissingDependencyError: transformers, the folder, or one of its files is missing, or the
            hub cannot be reached.
        ConfigurationError: ``config.json`` is damaged.
    """
    transformers = _transformers()
    if not source.startswith(LOCAL):
        try:
            values, _ = transformers.PretrainedConfig.get_config_dict(source)
        except Exception as error:  # the hub's client raises many kinds, some of its own tree
            raise _not_fetched(setting, source, error) from error
        return str(values.get("model_type", ""))
    folder = _checked_folder(setting, source, examples)
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{setting}: expected a config.json with a model_type in {folder}, got "
            f"{reason(error)}; copy the model's files again"
        ) from error


def load_model(setting: str, source: str, classes: tuple[str, str], device: str) -> tuple[Any, Any]:
    """Model and processor, ready to run.

    Args:
        setting: name of the setting, for messages.
        source: ``local-dir:FOLDER`` or the name of a model on the hub.
        classes: names of the model's and the processor's class in transformers.
        device: to which the model goes.

    Returns:
        Model (evaluation mode, float32, no gradient) and processor.

    Raises:
        MissingDependencyError: the model cannot be fetched from the hub.
        ConfigurationError: the folder's files do not fit.
    """
    transformers = _transformers()
    local = source.startswith(LOCAL)
    place = str(Path(source.removeprefix(LOCAL))) if local else source
    hub = importlib.import_module("transformers.utils.logging")
    level = hub.get_verbosity()
    hub.disable_progress_bar()
    hub.set_verbosity_error()  # its load reports span pages; what matters is raised
    try:
        model = getattr(transformers, classes[0]).from_pretrained(
            place, local_files_only=local, dtype=importlib.import_module("torch").float32
        )
        processor = getattr(transformers, classes[1]).from_pretrained(place, local_files_only=local)
    except Exception as error:  # transformers, tokenizers, safetensors, torch, the hub's client
        if local:
            raise ConfigurationError(
                f"{setting}: expected the files of one whole model in {place}, got: "
                f"{reason(error)}; copy them again"
            ) from error
        raise _not_fetched(setting, source, error) from error
    finally:
        hub.set_verbosity(level)
        hub.enable_progress_bar()
    return model.to(device).eval().requires_grad_(False), processor


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingDependencyError(
            "object localisation by text needs the package transformers, which is missing: "
            "pip install 'protoanomalyncd[localise]'"
        ) from error


def _checked_folder(setting: str, source: str, examples: str) -> Path:
    folder = Path(source.removeprefix(LOCAL))
    missing = [
        " or ".join(names)
        for names in (("config.json",), _WEIGHTS, _PROCESSORS)
        if not any((folder / name).is_file() for name in names)
    ]
    if missing:
        raise MissingDependencyError(
            f"{setting}: expected a model's files in {folder.absolute()}, but {missing[0]} is "
            f"missing; fetch all files of {examples} from the Hugging Face hub and put them there"
        )
    return folder


def _not_fetched(setting: str, source: str, error: Exception) -> MissingDependencyError:
    return MissingDependencyError(
        f"{setting}: {source!r} cannot be fetched ({reason(error)}); without internet copy "
        "the model's files (config.json, model.safetensors, its processor's and tokenizer's) into "
        "a folder and use local-dir:FOLDER"
    )
