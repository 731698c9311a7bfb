"""docs/concepts: every file that the table names exists and defines what it is said to define."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src" / "protoanomalyncd"
PAGE = REPOSITORY / "docs" / "concepts" / "paper_to_code.md"
ROW = re.compile(r"^\| .+ \| `(\w+)` \| `([\w/.]+)` \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


def defined_in(path: Path) -> set[str]:
    """Names of classes and functions at the top of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_every_line_of_the_tables_is_read() -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = [x for x in text.splitlines() if x.startswith("| ") and "| whose |" not in x]
    assert len(ROWS) == len(lines) > 30


@pytest.mark.parametrize(("name", "file", "whose"), ROWS, ids=[row[0] for row in ROWS])
def test_a_formula_is_where_the_page_says(name: str, file: str, whose: str) -> None:
    path = (REPOSITORY if file.startswith("research/") else SOURCE) / file
    assert path.is_file(), file
    assert name in defined_in(path), f"{file} defines {name}"
    assert re.search(r"\b(paper|published|ours)\b", whose)


def test_every_loss_has_its_line() -> None:
    losses = {path.name for path in (SOURCE / "prototypes" / "losses").glob("[a-z]*.py")}
    assert losses <= {Path(file).name for _, file, _ in ROWS}


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs" / "concepts").glob("*.md")))
def test_pictures_and_pages_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
