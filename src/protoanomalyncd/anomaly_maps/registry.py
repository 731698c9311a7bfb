"""Sources of anomaly maps by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from protoanomalyncd.anomaly_maps.base import AnomalyMapSource
from protoanomalyncd.errors import ConfigurationError

__all__ = ["AUTO", "choose", "create", "register", "registered"]

AUTO = "auto"
"""Setting that leaves the choice of the source to `choose`."""

_SOURCES: dict[str, type[AnomalyMapSource]] = {}
_Source = TypeVar("_Source", bound=type[AnomalyMapSource])


def register(name: str) -> Callable[[_Source], _Source]:
    """Class decorator: makes a source known as `name`, under which it is configured and saved.

    Raises:
        ConfigurationError: another class has that name already.
    """

    def decorate(cls: _Source) -> _Source:
        known = _SOURCES.setdefault(name, cls)
        if known is not cls:
            raise ConfigurationError(
                f"detector.source: expected a new name, got {name!r}, which is {known.__qualname__}"
            )
        cls.name = name
        return cls

    return decorate


def registered() -> tuple[str, ...]:
    """The known names, sorted."""
    return tuple(sorted(_SOURCES))


def choose(source: str, *, has_normal: bool, has_maps: bool) -> str:
    """Name of the source for a data set.

    Args:
        source: a registered name, or `AUTO`: the patch memory where there are normal images to
            learn from, else mutual scoring.
        has_normal: normal images are known (train/good).
        has_maps: a folder of maps is given; it is always used.

    Raises:
        ConfigurationError: maps are to be read, and no folder is given.
    """
    if has_maps:
        return "folder"
    if source == "folder":
        raise ConfigurationError(
            "detector.source is 'folder': expected a folder of anomaly maps (--maps), got none"
        )
    if source != AUTO:
        return source
    return "patch_memory" if has_normal else "mutual_scoring"


def create(
    name: str, arguments: Mapping[str, Any] | None = None, **offered: Any
) -> AnomalyMapSource:
    """Build a source.

    The caller need not know what a source takes: of `offered` the constructor gets what it has a
    parameter for. `arguments` are meant for this source and must all fit.

    Args:
        name: a registered name.
        arguments: saved by `AnomalyMapSource.arguments`.
        **offered: what this program has: ``backbone``, ``device``, ``seed``, ``folder``,
            ``image_size``, ``memory_size``, ``reference_images``; `arguments` come first.

    Raises:
        ConfigurationError: the name is unknown, an argument does not fit, or one is missing.
    """
    if name not in _SOURCES:
        raise ConfigurationError(
            f"detector.source: expected one of {', '.join((AUTO, *registered()))}, got {name!r}"
        )
    parameters = inspect.signature(_SOURCES[name]).parameters
    given = dict(arguments or {})
    unknown = sorted(set(given) - set(parameters))
    if unknown:
        raise ConfigurationError(
            f"detector: {name} takes {', '.join(parameters)}, got {', '.join(unknown)}"
        )
    given = {key: value for key, value in offered.items() if key in parameters} | given
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and key not in given
    ]
    if missing:
        raise ConfigurationError(f"detector: {name} needs {', '.join(missing)}, got nothing for it")
    return _SOURCES[name](**given)
