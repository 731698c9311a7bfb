"""The error tree that is drawn at the top of errors.py is the real one."""

from __future__ import annotations

import inspect
import re

import pytest

from protoanomalyncd.core import errors

BRANCH = re.compile(r"^    (?P<lead>[│ ├└─]*)(?P<name>\w+Error|InputError)(?: \((?P<also>\w+)\))?")


def drawn_tree() -> dict[str, set[str]]:
    """Class name -> names of its bases, as the docstring draws them."""
    tree: dict[str, set[str]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if not (branch := BRANCH.match(line)):
            continue
        depth = len(branch["lead"]) // 4
        above = [*above[:depth], branch["name"]]
        parent = above[depth - 1] if depth else "Exception"
        tree[branch["name"]] = {parent} | ({branch["also"]} if branch["also"] else set())
    return tree


def real_tree() -> dict[str, set[str]]:
    """Class name -> names of its bases, as Python has them."""
    return {
        name: {base.__name__ for base in value.__bases__}
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }


def test_the_drawn_tree_is_the_real_tree() -> None:
    assert drawn_tree() == real_tree()


def test_all_errors_are_exported() -> None:
    assert set(errors.__all__) == {*real_tree(), "reason", "shown"}


def test_every_error_says_what_it_is_for() -> None:
    for name in errors.__all__:
        assert getattr(errors, name).__doc__, name


@pytest.mark.parametrize("name", sorted(real_tree()))
def test_one_handler_catches_all(name: str) -> None:
    with pytest.raises(errors.ProtoAnomalyNCDError, match=r"^expected a, got b; do c$"):
        raise getattr(errors, name)("expected a, got b; do c")


@pytest.mark.parametrize("name", ["ImageError", "AnomalyMapError", "DatasetError"])
def test_bad_data_is_a_value_error_too(name: str) -> None:
    assert issubclass(getattr(errors, name), ValueError)
