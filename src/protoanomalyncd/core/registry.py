"""Components by name: built from settings, and again from a saved model.

A component's options are the parameters of its own constructor. What the program offers (`OFFERED`)
goes to those that have a parameter of that name. Classes register here, or come from any installed
package by an entry point::

    [project.entry-points."protoanomalyncd.detectors"]
    my_detector = "my_package.detector:MyDetector"
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, TypeVar

from protoanomalyncd.core.checks import check_arguments, options_of
from protoanomalyncd.core.errors import ConfigurationError, MissingDependencyError

__all__ = ["OFFERED", "Component", "Registered", "Registry"]

_T = TypeVar("_T")
_Class = TypeVar("_Class", bound=type)

OFFERED = ("backbone", "device", "folder", "seed")
"""Parameters of a constructor that the program fills in; they are no options."""


@dataclass(frozen=True)
class Component:
    """A component by name, with its own options.

    Args:
        name: under which it is registered, or of an entry point.
        options: arguments of its constructor, as JSON values.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def from_value(cls, value: Any) -> Component:
        """A component, a name, or a mapping: its ``name`` and options beside it.

        Args:
            value: as in a YAML file: ``patch_memory``, or ``{name: patch_memory, smoothing: 0}``.

        Raises:
            ConfigurationError: it is none of these.
        """
        if isinstance(value, Component):
            return cls.from_value(value.to_dict())
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"expected a name, or a name and options, got {value!r}")
        options = dict(value)
        name = options.pop("name", None)
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"expected the name of a component, got {value!r}")
        try:
            return cls(name, json.loads(json.dumps(options, allow_nan=False)))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"expected numbers, texts, lists and mappings as options of {name}, got {options!r}"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Inverse of `from_value`."""
        return {"name": self.name, **self.options}


class Registered:
    """Base of the built-in components that keep each option under its own name.

    Attributes:
        name: under which the class is registered.
    """

    name: ClassVar[str]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values; without what belongs to a machine or a call."""
        kept = (name for name in options_of(type(self)) if name == "seed" or name not in OFFERED)
        return {name: getattr(self, name) for name in kept}


class Registry(Generic[_T]):
    """The classes of one seam.

    Args:
        setting: in which users write the name, such as ``detector``; errors name it.
        group: of the entry points by which other packages add classes.
        seam: runtime-checkable protocol of the instances.
        also: further values of that setting, which are no class.
        expected: what to give for a constructor's parameter, for the message where it is missing.
    """

    def __init__(
        self,
        setting: str,
        group: str,
        seam: Any = object,
        also: tuple[str, ...] = (),
        expected: Mapping[str, str] | None = None,
    ) -> None:
        self.classes: dict[str, type] = {}
        self.setting, self.group, self.seam, self.also = setting, group, seam, also
        self._expected = dict(expected or {})

    def register(self, name: str) -> Callable[[_Class], _Class]:
        """Class decorator: makes a class known as `name`, under which it is configured and saved.

        Raises:
            ConfigurationError: another class has that name already.
        """

        def decorate(cls: _Class) -> _Class:
            known = self.classes.setdefault(name, cls)
            if known is not cls:
                raise ConfigurationError(
                    f"{self.setting}: expected a new name, got {name!r}, which is "
                    f"{known.__qualname__}"
                )
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """The registered names, sorted."""
        return tuple(sorted(self.classes))

    def get(self, name: str) -> type:
        """The class of that name; an entry point is imported when it is asked for.

        Raises:
            ConfigurationError: the name is unknown.
            MissingDependencyError: an installed package offers it and cannot be imported.
        """
        if name in self.classes:
            return self.classes[name]
        entry = self._entry_point(name)
        if entry is None:
            raise ConfigurationError(
                f"{self.setting}: expected one of {self._known()}, got {name!r}; an installed "
                f"package can add one (entry point {self.group})"
            )
        try:
            found: type = entry.load()
            return self.register(name)(found)
        except Exception as error:  # a foreign module may fail in any way
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise MissingDependencyError(
                f"{self.setting} {name!r}: expected a class at {entry.value} (package "
                f"{_package(entry)}), got {reason}; repair that package"
            ) from error

    def options(self, name: str) -> tuple[str, ...]:
        """Options of a component: parameters of its constructor that the program does not fill."""
        return tuple(option for option in options_of(self.get(name)) if option not in OFFERED)

    def check(self, component: Component) -> dict[str, Any]:
        """The options, brought to their types; nothing is built.

        Raises:
            ConfigurationError: the component is unknown or lacks an option, or a value is of
                another type or out of its range.
        """
        known = self.options(component.name)
        unknown = sorted(set(component.options) - set(known))
        if unknown:
            has = f"its options are {', '.join(known)}" if known else "it has no options"
            raise ConfigurationError(
                f"{self.setting}: {component.name} has no option {unknown[0]!r}; {has}"
            )
        return check_arguments(self.get(component.name), component.options, f"{self.setting}.")

    def create(
        self,
        component: Component | str,
        options: Mapping[str, Any] | None = None,
        /,
        **offered: Any,
    ) -> _T:
        """Build an instance.

        Args:
            component: name and options.
            options: further ones.
            **offered: what this program has, such as ``device`` or ``folder``; the constructor gets
                what it has a parameter for.

        Raises:
            ConfigurationError: see `check`; or the constructor needs what is missing.
        """
        component = Component.from_value(component)
        component = Component(component.name, {**component.options, **(options or {})})
        return self._build(component.name, self.check(component), offered)

    def resolve(self, part: Any, **offered: Any) -> _T:
        """An instance as it is; a component, name or mapping built as by `create`.

        Raises:
            ConfigurationError: it is none of these, or see `create`.
        """
        if isinstance(part, Component | str | Mapping):
            return self.create(Component.from_value(part), **offered)
        if isinstance(part, type) or not isinstance(part, self.seam):
            wanted = getattr(self.seam, "__name__", "component")
            raise ConfigurationError(
                f"{self.setting}: expected a name or an instance of {wanted}, got {part!r}"
            )
        instance: _T = part
        return instance

    def record(self, instance: Any) -> dict[str, Any]:
        """What a saved model keeps of an instance, as JSON values: name, arguments, package."""
        entry = None if type(instance).__module__.startswith(_OURS) else self._entry_of(instance)
        package = {} if entry is None else {"package": _package(entry)}
        return {"name": instance.name, "arguments": instance.arguments(), **package}

    def restore(self, record: Mapping[str, Any], **offered: Any) -> _T:
        """Build an instance from its `record`; saved arguments come before what is offered.

        Raises:
            MissingDependencyError: its package is not installed.
            ConfigurationError: an argument does not fit, or one is missing.
        """
        name, arguments = str(record["name"]), dict(record.get("arguments", {}))
        if name not in self.classes and self._entry_point(name) is None:
            package = f"the package {record['package']!r}" if "package" in record else "a package"
            raise MissingDependencyError(
                f"this model needs the {self.setting} {name!r} of {package} that is not installed "
                f"here (entry point {self.group}: {name})"
            )
        unknown = sorted(set(arguments) - {*self.options(name), "seed"})
        if unknown:  # paths and devices among them: they belong to a call, not to a model
            raise ConfigurationError(
                f"{self.setting}: {name} takes {', '.join(self.options(name)) or 'no option'}, got "
                f"{', '.join(unknown)}"
            )
        checked = check_arguments(self.get(name), arguments, f"{self.setting}.")
        return self._build(name, checked, offered)

    def _build(self, name: str, given: dict[str, Any], offered: Mapping[str, Any]) -> _T:
        cls = self.get(name)
        parameters = options_of(cls)
        given = {key: value for key, value in offered.items() if key in parameters} | given
        for key, parameter in parameters.items():
            if parameter.default is parameter.empty and given.get(key) is None:
                raise ConfigurationError(
                    f"{self.setting}.{key}: expected {self._expected.get(key, 'a value')}, got "
                    f"nothing; {name} needs it"
                )
        instance: _T = cls(**given)
        return instance

    def _known(self) -> str:
        others = {entry.name for entry in entry_points(group=self.group)} - set(self.classes)
        return ", ".join((*self.also, *self.names(), *sorted(others)))

    def _entry_point(self, name: str) -> EntryPoint | None:
        return next(iter(entry_points(group=self.group, name=name)), None)

    def _entry_of(self, instance: Any) -> EntryPoint | None:
        entry = self._entry_point(instance.name)
        return entry if entry and entry.module == type(instance).__module__ else None


_OURS = "protoanomalyncd."


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module.partition(".")[0]
