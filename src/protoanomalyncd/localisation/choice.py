"""Which localiser a call uses: that of the settings, a folder of masks, or the fitted one."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.registry import Component
from protoanomalyncd.localisation.base import ObjectLocaliser
from protoanomalyncd.localisation.folder import FolderMasks
from protoanomalyncd.localisation.prompts import prompt_for, read_prompts
from protoanomalyncd.localisation.registry import LOCALISERS, create_localiser

__all__ = ["PROMPT_OPTIONS", "check_localiser", "choose_localiser", "localiser_for"]

PROMPT_OPTIONS = ("prompts", "product")
"""Options of every localiser that takes a prompt, beside its own."""


def check_localiser(localiser: Component, object_masks: str | Path | None = None) -> None:
    """Refuse early what no data can make right.

    Args:
        localiser: as it is configured.
        object_masks: folder of masks; None = none is given.

    Raises:
        ConfigurationError: the localiser is unknown or lacks an option; masks stand beside another
            localiser; or they are to be read, and no folder is given.
    """
    if object_masks is not None and localiser.name not in ("none", "folder"):
        raise ConfigurationError(
            f"localiser: expected no folder of object masks (--object-masks) beside "
            f"{localiser.name}, got {object_masks}; leave out one of them"
        )
    own = dict(localiser.options)
    if _takes_a_prompt(localiser):
        own = {name: value for name, value in own.items() if name not in PROMPT_OPTIONS}
    LOCALISERS.check(Component(localiser.name, own))
    if object_masks is None and localiser.name == "folder":
        raise ConfigurationError(
            "localiser: folder needs a folder of object masks (--object-masks), got none"
        )


def choose_localiser(
    localiser: Component, product: str, object_masks: str | Path | None, device: str
) -> ObjectLocaliser:
    """The localiser of a fit.

    A localiser that takes a prompt has two options more: ``prompts``, a YAML file that maps
    products to prompts, asked where there is no ``prompt``; and ``product``, its entry there.

    Args:
        localiser: as it is configured.
        product: name of the images' folder; the option ``product`` comes first.
        object_masks: folder of masks, which comes before the settings; None = as they say.
        device: where a network runs.

    Raises:
        ConfigurationError: see `check_localiser`; or an option is missing.
    """
    check_localiser(localiser, object_masks)
    if object_masks is not None:
        return FolderMasks(object_masks)
    if _takes_a_prompt(localiser):
        own = dict(localiser.options)
        prompts, named = (own.pop(name, None) for name in PROMPT_OPTIONS)
        if own.get("prompt") is None and prompts is not None:
            path = Path(str(prompts))
            own["prompt"] = prompt_for(read_prompts(path), str(named or product), path)
            if own["prompt"] is None:  # a texture
                return create_localiser("none")
        localiser = Component(localiser.name, own)
    return create_localiser(localiser, device=device)


def _takes_a_prompt(localiser: Component) -> bool:
    return "prompt" in LOCALISERS.options(localiser.name)


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
