"""Implementations of a seam, known by name: built from a setting, and again from a saved model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["Registry"]

_T = TypeVar("_T")
_Class = TypeVar("_Class", bound=type)


class Registry(Generic[_T]):
    """Classes by name.

    Args:
        setting: in which users write the name, as "detector.source"; errors name it.
        also: further values of that setting, which are no class.
        expected: what to give for a constructor's parameter, for the message where it is missing.
    """

    def __init__(
        self,
        setting: str,
        also: tuple[str, ...] = (),
        expected: Mapping[str, str] | None = None,
    ) -> None:
        self.classes: dict[str, type] = {}
        self._setting, self._section = setting, setting.partition(".")[0]
        self._also, self._expected = also, dict(expected or {})

    def register(self, name: str) -> Callable[[_Class], _Class]:
        """Class decorator: makes a class known as `name`, under which it is configured and saved.

        Raises:
            ConfigurationError: another class has that name already.
        """

        def decorate(cls: _Class) -> _Class:
            known = self.classes.setdefault(name, cls)
            if known is not cls:
                raise ConfigurationError(
                    f"{self._setting}: expected a new name, got {name!r}, which is "
                    f"{known.__qualname__}"
                )
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """The known names, sorted."""
        return tuple(sorted(self.classes))

    def create(self, name: str, arguments: Mapping[str, Any] | None = None, **offered: Any) -> _T:
        """Build an instance.

        The caller need not know what a class takes: of `offered` the constructor gets what it has
        a parameter for. `arguments` are meant for this class and must all fit.

        Args:
            name: a registered name.
            arguments: saved by the instance's ``arguments``; they come first.
            **offered: what this program has, such as settings, ``device`` or ``folder``.

        Raises:
            ConfigurationError: the name is unknown, an argument does not fit, or one is missing.
        """
        if name not in self.classes:
            names = ", ".join((*self._also, *self.names()))
            raise ConfigurationError(f"{self._setting}: expected one of {names}, got {name!r}")
        parameters = inspect.signature(self.classes[name]).parameters
        given = dict(arguments or {})
        unknown = sorted(set(given) - set(parameters))
        if unknown:
            raise ConfigurationError(
                f"{self._section}: {name} takes {', '.join(parameters)}, got {', '.join(unknown)}"
            )
        given = {key: value for key, value in offered.items() if key in parameters} | given
        for key, parameter in parameters.items():
            if parameter.default is parameter.empty and given.get(key) is None:
                raise ConfigurationError(
                    f"{self._section}.{key}: expected {self._expected.get(key, 'a value')}, got "
                    f"nothing; {name} needs it"
                )
        instance: _T = self.classes[name](**given)
        return instance
