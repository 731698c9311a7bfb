"""Settings from YAML files and from options with dots: ``--detector.memory_size 8000``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["merge_settings", "parse_scalar", "read_settings", "setting", "spelled_out"]

COMPONENTS = ("detector", "localiser", "outliers.score")
"""Settings that name a component and hold its options."""

_ALSO = {"outlier-score": "outliers.score"}
"""Further spellings of the first part of a dotted option."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: 1e-3 is one."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_settings(path: Path) -> dict[str, Any]:
    """Nested settings of a YAML file.

    Raises:
        ConfigurationError: it cannot be read, or does not map names to values.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"--config {path}: expected a YAML file of settings, got {reason}"
        ) from error
    if not isinstance(values, dict):
        raise ConfigurationError(
            f"--config {path}: expected lines such as 'seed: 1', got {type(values).__name__}"
        )
    return values


def parse_scalar(text: str) -> Any:
    """An option's text as YAML reads it: 8000 is a number, null is none, [1, 2] a list."""
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 - a safe one
    except (ValueError, RecursionError, yaml.YAMLError):
        return text
    # A prompt with a colon is no mapping, a name like 2024-01-01 no date.
    plain = value is None or isinstance(value, bool | int | float | list)
    return value if plain or text.startswith("{") else text


def setting(text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` of ``--set``, as an argument's type.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, parse_scalar(value)


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Options with a dot as ``--set``: ``--a.b 3`` and ``--a.b=3`` become ``--set=a.b=3``.

    Raises:
        ConfigurationError: the last one has no value.
    """
    waiting, result = iter(arguments), []
    for argument in waiting:
        found = re.fullmatch(r"--([A-Za-z][\w-]*)\.([\w.]+)(?:=(.*))?", argument, re.DOTALL)
        if found is None:
            result.append(argument)
            continue
        section, name, value = found.groups()
        value = next(waiting, None) if value is None else value
        if value is None:
            raise ConfigurationError(f"{argument}: expected a value after it, got nothing")
        result.append(f"--set={_ALSO.get(section, section)}.{name}={value}")
    return result


def merge_settings(values: dict[str, Any], given: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Put options over the settings of a file.

    Another component than the file's takes none of that one's options.

    Args:
        values: nested settings; is changed.
        given: dotted names and values, in the order in which they were given.

    Raises:
        ConfigurationError: a setting that has no parts is given some.
    """
    # Names of components first: their options may stand before them.
    for name, value in sorted(given, key=lambda item: item[0] not in COMPONENTS):
        *parents, last = name.split(".")
        place = values
        for depth, parent in enumerate(parents, 1):
            inner = place.setdefault(parent, {})
            if isinstance(inner, str) and ".".join(parents[:depth]) in COMPONENTS:
                inner = place[parent] = {"name": inner}
            if not isinstance(inner, dict):
                raise ConfigurationError(
                    f"{name}: expected settings by name in {parent}, got {inner!r}"
                )
            place = inner
        if name in COMPONENTS and _name_of(place.get(last)) == value:
            continue
        place[last] = value
    return values


def _name_of(component: Any) -> Any:
    return component.get("name") if isinstance(component, Mapping) else component
