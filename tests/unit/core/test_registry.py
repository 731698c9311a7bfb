"""registry.py: names, options, other packages' entry points."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest

from protoanomalyncd.core.errors import ConfigurationError, MissingDependencyError
from protoanomalyncd.core.registry import Component, Registry

GROUP = "protoanomalyncd.things"
SOURCE = """
class Thing:
    def __init__(self, size: int = 3, seed: int = 0) -> None:
        self.size, self.seed = size, seed

    def arguments(self):
        return {"size": self.size, "seed": self.seed}
"""


@runtime_checkable
class Seam(Protocol):
    name: str

    def arguments(self) -> dict[str, Any]: ...


@pytest.fixture
def things() -> Registry[Any]:
    registry: Registry[Any] = Registry("thing", GROUP, Seam)

    @registry.register("plain")
    class Plain:
        def __init__(self, depth: int, device: str = "cpu") -> None:
            self.depth, self.device = depth, device

        def arguments(self) -> dict[str, Any]:
            return {"depth": self.depth}

    return registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers ``foreign``, and ``broken``, which cannot be imported."""
    (tmp_path / "things_of_others.py").write_text(SOURCE)
    info = tmp_path / "things_of_others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: things-of-others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nforeign = things_of_others:Thing\nbroken = things_of_others:Nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "things_of_others", raising=False)
    return info


def test_an_entry_point_is_used_by_its_name(things: Registry[Any], package: Path) -> None:
    assert things.options("foreign") == ("size",)
    thing = things.create(Component("foreign", {"size": 5}), seed=7, device="cpu")
    assert (thing.name, thing.size, thing.seed) == ("foreign", 5, 7)
    with pytest.raises(ConfigurationError, match="foreign has no option 'depth'; its options are "):
        things.check(Component("foreign", {"depth": 5}))
    with pytest.raises(ConfigurationError, match=r"thing\.size: expected a whole number, got 'x'"):
        things.check(Component("foreign", {"size": "x"}))


def test_an_unknown_name_is_told_with_all_that_are_known(
    things: Registry[Any], package: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        things.get("nowhere")
    assert str(caught.value) == (
        "thing: expected one of plain, broken, foreign, got 'nowhere'; an installed package can "
        f"add one (entry point {GROUP})"
    )


def test_a_package_that_cannot_be_imported_is_named(things: Registry[Any], package: Path) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        things.get("broken")
    assert "package things-of-others" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_saved_model_names_the_package_that_is_missing(
    things: Registry[Any], package: Path
) -> None:
    record = things.record(things.create("foreign", seed=2))
    assert record == {
        "name": "foreign",
        "arguments": {"size": 3, "seed": 2},
        "package": "things-of-others",
    }
    assert things.restore(record, seed=9).seed == 2
    (package / "entry_points.txt").unlink()
    elsewhere: Registry[Any] = Registry("thing", GROUP, Seam)
    with pytest.raises(MissingDependencyError) as caught:
        elsewhere.restore(record)
    assert str(caught.value) == (
        "this model needs the thing 'foreign' of the package 'things-of-others' that is not "
        f"installed here (entry point {GROUP}: foreign)"
    )


def test_a_record_says_nothing_of_places_and_machines(things: Registry[Any]) -> None:
    assert things.record(things.create("plain", depth=2)) == {
        "name": "plain",
        "arguments": {"depth": 2},
    }
    for odd in ("device", "folder"):
        with pytest.raises(ConfigurationError, match=f"plain takes depth, got {odd}"):
            things.restore({"name": "plain", "arguments": {"depth": 2, odd: "/elsewhere"}})


def test_resolve_takes_instances_names_and_mappings(things: Registry[Any]) -> None:
    thing = things.create("plain", depth=2)
    assert things.resolve(thing) is thing
    assert things.resolve({"name": "plain", "depth": 4}, device="meta").device == "meta"
    assert things.resolve(Component("plain", {"depth": 4})).depth == 4
    for odd in (5, object(), things.get("plain")):
        with pytest.raises(ConfigurationError, match="expected a name or an instance of Seam"):
            things.resolve(odd)


def test_what_a_constructor_needs_is_named(things: Registry[Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"thing.depth: expected a value, got nothing"):
        things.create("plain", device="cpu")
