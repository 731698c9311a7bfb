"""Checks of settings: type first, then range; each refusal is one line that names the setting."""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from typing import Any

from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["check_types", "require"]


def require(condition: bool, name: str, expected: str, value: object) -> None:
    """Raise ConfigurationError unless the condition holds."""
    if not condition:
        raise ConfigurationError(f"{name}: expected {expected}, got {value!r}")


def check_types(part: Any, prefix: str) -> None:
    """Bring numbers to the declared type; refuse what is of another one."""
    hints = typing.get_type_hints(type(part))
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        value = _typed(value, hints[item.name], f"{prefix}{item.name}")
        object.__setattr__(part, item.name, value)


def _typed(value: Any, kind: Any, name: str) -> Any:
    """The value as `kind`; a whole number may stand for a float, nothing else is converted."""
    if isinstance(kind, types.UnionType):  # X | None
        return None if value is None else _typed(value, typing.get_args(kind)[0], name)
    if typing.get_origin(kind) is typing.Union:  # X | Literal["word"]
        first, word = typing.get_args(kind)
        words = typing.get_args(word)
        if isinstance(value, str):
            require(value in words, name, f"a number or {words[0]}", value)
            return value
        return _typed(value, first, name)
    if typing.get_origin(kind) is tuple:  # tuple[X, ...]; YAML and JSON know lists only
        require(isinstance(value, list | tuple), name, "a list", value)
        return tuple(_typed(item, typing.get_args(kind)[0], name) for item in value)
    if kind is float:
        require(
            isinstance(value, numbers.Real) and not isinstance(value, bool), name, "a number", value
        )
        require(math.isfinite(value), name, "a finite number", value)
        return float(value)
    if kind is int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        require(whole, name, "a whole number", value)
        return int(value)
    if kind in (str, bool):
        require(isinstance(value, kind), name, "text" if kind is str else "true or false", value)
    elif dataclasses.is_dataclass(kind):
        require(isinstance(value, typing.cast(type, kind)), name, "settings by name", value)
    return value
