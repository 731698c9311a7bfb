"""Checks of settings: type first, then range; each refusal is one line that names the setting.

A setting says what it takes once, by its annotation: of a dataclass's field, or of a parameter of a
component's constructor.

    >>> typed(3, Annotated[float, Range(0, 1)] | None, "speed")
    Traceback (most recent call last):
    protoanomalyncd.core.errors.ConfigurationError: speed: expected in [0, 1] or null, got 3
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["Range", "check_arguments", "check_types", "options_of", "require", "typed"]


@dataclass(frozen=True)
class Range:
    """Range of a number, in ``Annotated[float, Range(0, 1, "[)")]``.

    Args:
        low: lower end.
        high: upper end; infinite = none.
        ends: ``[`` or ``]`` where an end belongs to the range, ``(`` or ``)`` where it does not.
    """

    low: float
    high: float = math.inf
    ends: str = "[]"

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        return above and (value <= self.high if self.ends[1] == "]" else value < self.high)

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{'at least' if self.ends[0] == '[' else 'above'} {self.low}"
        return f"in {self.ends[0]}{self.low}, {self.high}{self.ends[1]}"


class _RefusedError(Exception):
    """A value is not what was expected; the argument says what was."""


def require(condition: bool, name: str, expected: str, value: object) -> None:
    """Raise ConfigurationError unless the condition holds."""
    if not condition:
        raise ConfigurationError(f"{name}: expected {expected}, got {value!r}")


def typed(value: Any, kind: Any, name: str) -> Any:
    """The value as `kind`, an annotation; a whole number may stand for a float, a list for a tuple.

    What this knows nothing of, such as a class, is handed on as it is.

    Raises:
        ConfigurationError: it is of another type, or out of its range.
    """
    try:
        return _as(value, kind)
    except _RefusedError as refused:
        raise ConfigurationError(f"{name}: expected {refused}, got {value!r}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from error


def check_types(part: Any, prefix: str) -> None:
    """Bring the fields of a frozen dataclass to their declared types; refuse what is of another."""
    hints = typing.get_type_hints(type(part), include_extras=True)
    for item in dataclasses.fields(part):
        value = typed(getattr(part, item.name), hints[item.name], f"{prefix}{item.name}")
        object.__setattr__(part, item.name, value)


def options_of(cls: type) -> dict[str, inspect.Parameter]:
    """Parameters of a constructor that can be given by name."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(cls).parameters
    return {name: item for name, item in parameters.items() if item.kind in by_name}


def check_arguments(cls: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Those of `values` that are parameters of the constructor, brought to their types.

    Args:
        cls: a component; annotations that cannot be read are not checked.
        values: by name, such as ``locals()`` of the constructor.
        prefix: of the names in messages.

    Raises:
        ConfigurationError: a value is of another type, or out of its range.
    """
    try:
        hints = typing.get_type_hints(cls.__init__, include_extras=True)  # type: ignore[misc]
    except (NameError, TypeError):
        hints = {}
    return {
        name: typed(values[name], hints.get(name, Any), f"{prefix}{name}")
        for name in options_of(cls)
        if name in values
    }


def _as(value: Any, kind: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        value = _as(value, inner[0])
        for limit in inner[1:]:
            if isinstance(limit, Range) and value not in limit:
                raise _RefusedError(str(limit))
        return value
    if origin in (typing.Union, types.UnionType):  # one class from Python 3.14 on
        return _as_one_of(value, inner)
    if origin is Literal:
        if value not in inner or isinstance(value, bool):
            raise _RefusedError(" or ".join(map(str, inner)))
        return value
    if origin is tuple:  # tuple[X, ...]; YAML and JSON know lists only
        if not isinstance(value, list | tuple):
            raise _RefusedError("a list")
        return tuple(_as(item, inner[0]) for item in value)
    return _as_plain(value, kind)


def _as_one_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    reasons = []
    for kind in kinds:
        try:
            return _as(value, kind)
        except _RefusedError as refused:
            reasons.append(str(refused))
    raise _RefusedError(" or ".join(dict.fromkeys(reasons)))


_PLAIN = {str: "text", bool: "true or false", type(None): "null"}


def _as_plain(value: Any, kind: Any) -> Any:
    if kind in (int, float):
        numeric: Any = numbers.Integral if kind is int else numbers.Real
        if isinstance(value, bool) or not isinstance(value, numeric):
            raise _RefusedError("a whole number" if kind is int else "a number")
        if not math.isfinite(value):
            raise _RefusedError("a finite number")
        return kind(value)
    if hasattr(kind, "from_value"):
        return kind.from_value(value)
    if kind in _PLAIN and not isinstance(value, kind):
        raise _RefusedError(_PLAIN[kind])
    if dataclasses.is_dataclass(kind) and not isinstance(value, typing.cast(type, kind)):
        raise _RefusedError("settings by name")
    return value
