"""Localisers by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from protoanomalyncd.errors import ConfigurationError
from protoanomalyncd.localisation.base import ObjectLocaliser

__all__ = ["create_localiser", "register_localiser", "registered_localisers"]

_EXPECTED = {
    "prompt": "what the object is called, or a YAML file of prompts in localiser.prompts",
    "box_detector": "local-dir:FOLDER or a model such as IDEA-Research/grounding-dino-tiny",
    "segmenter": "local-dir:FOLDER or a model such as facebook/sam-vit-base",
}

_LOCALISERS: dict[str, type[ObjectLocaliser]] = {}
_Localiser = TypeVar("_Localiser", bound=type[ObjectLocaliser])


def register_localiser(name: str) -> Callable[[_Localiser], _Localiser]:
    """Class decorator: makes a localiser known as `name`, under which it is configured and saved.

    Raises:
        ConfigurationError: another class has that name already.
    """

    def decorate(cls: _Localiser) -> _Localiser:
        known = _LOCALISERS.setdefault(name, cls)
        if known is not cls:
            raise ConfigurationError(
                f"localiser.source: expected a new name, got {name!r}, which is "
                f"{known.__qualname__}"
            )
        cls.name = name
        return cls

    return decorate


def registered_localisers() -> tuple[str, ...]:
    """The known names, sorted."""
    return tuple(sorted(_LOCALISERS))


def create_localiser(
    name: str, arguments: Mapping[str, Any] | None = None, **offered: Any
) -> ObjectLocaliser:
    """Build a localiser; no model is loaded yet.

    Args:
        name: a registered name.
        arguments: saved by `ObjectLocaliser.arguments`; all must fit.
        **offered: what this program has (settings, ``device``, ``folder``); the constructor gets
            what it has a parameter for, and `arguments` come first.

    Raises:
        ConfigurationError: the name is unknown, an argument does not fit, or one is missing.
    """
    if name not in _LOCALISERS:
        raise ConfigurationError(
            f"localiser.source: expected one of {', '.join(registered_localisers())}, got {name!r}"
        )
    parameters = inspect.signature(_LOCALISERS[name]).parameters
    given = dict(arguments or {})
    unknown = sorted(set(given) - set(parameters))
    if unknown:
        raise ConfigurationError(
            f"localiser: {name} takes {', '.join(parameters)}, got {', '.join(unknown)}"
        )
    given = {key: value for key, value in offered.items() if key in parameters} | given
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and given.get(key) is None
    ]
    if missing:
        raise ConfigurationError(
            f"localiser.{missing[0]}: expected {_EXPECTED.get(missing[0], 'a value')}, got "
            f"nothing; {name} needs it"
        )
    return _LOCALISERS[name](**given)
