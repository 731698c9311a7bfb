"""checks.py: types and ranges from annotations."""

from __future__ import annotations

import os
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from protoanomalyncd.core import checks
from protoanomalyncd.core.checks import Range, check_arguments, typed
from protoanomalyncd.core.errors import ConfigurationError

SHARE = Annotated[float, Range(0, 1, "[)")]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, float, 3.0),
        (3, Annotated[int, Range(1)], 3),
        (None, Annotated[int, Range(1)] | None, None),
        ("auto", int | Literal["auto"], "auto"),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        (0, SHARE, 0.0),
        ("anything", object, "anything"),
        ("x", typing.Optional[str], "x"),  # noqa: UP045 - the old spelling is another class
    ],
)
def test_what_fits_is_brought_to_its_type(value: Any, kind: Any, expected: Any) -> None:
    found = typed(value, kind, "name")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (0, Annotated[int, Range(1)], "name: expected at least 1, got 0"),
        (0, Annotated[float, Range(0, ends="(]")], "name: expected above 0, got 0"),
        (1, SHARE, "name: expected in [0, 1), got 1"),
        (0, Annotated[int, Range(1)] | None, "name: expected at least 1 or null, got 0"),
        ("x", int | Literal["auto"], "name: expected a whole number or auto, got 'x'"),
        (True, int, "name: expected a whole number, got True"),
        (1, bool, "name: expected true or false, got 1"),
        (float("nan"), float, "name: expected a finite number, got nan"),
        ("c", Literal["a", "b"], "name: expected a or b, got 'c'"),
        (3.0, tuple[float, ...], "name: expected a list, got 3.0"),
        (["x"], tuple[float, ...], "name: expected a number, got ['x']"),
        ([], str, "name: expected text, got []"),
    ],
)
def test_what_does_not_fit_is_one_line(value: Any, kind: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        typed(value, kind, "name")
    assert str(caught.value) == message


def test_a_union_is_known_by_either_of_its_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14 has one class for both spellings; so must the checks."""

    class Other:
        pass

    for origin in (lambda kind: typing.Union, lambda kind: checks.types.UnionType):
        real: Callable[[Any], Any] = typing.get_origin
        either = (typing.Union, checks.types.UnionType)
        monkeypatch.setattr(
            checks.typing,
            "get_origin",
            lambda kind, o=origin, r=real, e=either: o(kind) if r(kind) in e else r(kind),
        )
        assert typed("auto", int | Literal["auto"], "name") == "auto"
        assert typed(None, Annotated[int, Range(1)] | None, "name") is None
        monkeypatch.undo()


def test_annotations_that_cannot_be_read_are_not_checked() -> None:
    class Foreign:
        def __init__(self, size: "NoSuchClass") -> None:  # type: ignore[name-defined]  # noqa: F821, UP037
            pass

    assert check_arguments(Foreign, {"size": 3, "other": 4}, "x.") == {"size": 3}


def test_configuration_needs_neither_numpy_nor_torch() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['numpy', 'torch', 'timm'])); "
        "from protoanomalyncd.config import Config; Config()"
    )
    path = os.pathsep.join(
        [str(Path(__file__).parents[3] / "src"), os.environ.get("PYTHONPATH", "")]
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
