"""Which localiser a call uses: that of the settings, a folder of masks, or the fitted one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from protoanomalyncd.config import LocaliserConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.localisation.base import ObjectLocaliser
from protoanomalyncd.localisation.folder import FolderMasks
from protoanomalyncd.localisation.prompts import prompt_for, read_prompts
from protoanomalyncd.localisation.registry import create_localiser

__all__ = ["choose_localiser", "localiser_for"]


def choose_localiser(
    config: LocaliserConfig, product: str, object_masks: str | Path | None, device: str
) -> ObjectLocaliser:
    """The localiser of a fit.

    Args:
        config: settings.
        product: name of the images' folder; `LocaliserConfig.product` comes first.
        object_masks: folder of masks, which comes before the settings; None = as they say.
        device: where a network runs.

    Raises:
        ConfigurationError: a setting is missing, unknown, or contradicts the folder.
    """
    if object_masks is not None:
        if config.source not in ("none", "folder"):
            raise ConfigurationError(
                f"localiser.source is {config.source!r}: expected no folder of object masks beside "
                f"it, got {object_masks}; leave out one of them"
            )
        return FolderMasks(object_masks)
    if config.source == "folder":
        raise ConfigurationError(
            "localiser.source is 'folder': expected a folder of object masks (--object-masks), "
            "got none"
        )
    settings = dataclasses.asdict(config)
    source = settings.pop("source")
    if source != "none" and config.prompt is None and config.prompts is not None:
        path = Path(config.prompts)
        settings["prompt"] = prompt_for(read_prompts(path), config.product or product, path)
        if settings["prompt"] is None:  # a texture
            source = "none"
    return create_localiser(source, device=device, **settings)


def localiser_for(
    fitted: ObjectLocaliser | None, object_masks: str | Path | None
) -> ObjectLocaliser:
    """The localiser of a prediction: the fitted one, with the masks of the new images.

    Raises:
        ConfigurationError: the model was fitted with masks from a folder and there are none now, or
            the other way round.
    """
    fitted = fitted or create_localiser("none")
    if fitted.name == "folder" and object_masks is None:
        raise ConfigurationError(
            "this model was fitted with object masks from a folder: expected --object-masks FOLDER "
            "with the masks of the new images, got none"
        )
    if fitted.name != "folder" and object_masks is not None:
        raise ConfigurationError(
            f"this model was fitted with the localiser {fitted.name!r}: expected no "
            f"--object-masks, got {object_masks}"
        )
    return fitted if object_masks is None else FolderMasks(object_masks)
