"""The examples in docstrings run, or say that they do not."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def modules() -> list[str]:
    """Names of the modules whose text holds an example."""
    found = []
    for root, package in ((REPOSITORY / "src", "protoanomalyncd"), (REPOSITORY, "research")):
        for path in sorted((root / package).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(root).with_suffix("").parts
                found.append(".".join(part for part in parts if part != "__init__"))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples_run(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("protoanomalyncd", "research"):
            raise
        pytest.skip(f"needs {error.name}")
    examples = [test for test in doctest.DocTestFinder().find(module, name) if test.examples]
    assert examples, "the text holds >>>, but no docstring does"
    runner, told = doctest.DocTestRunner(verbose=False), []
    for test in examples:
        runner.run(test, out=told.append)
    assert not told, "".join(told)
