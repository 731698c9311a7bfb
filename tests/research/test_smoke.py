"""Every module of research can be imported, and every command says what it takes."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(part for part in path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in (REPOSITORY / "research").rglob("*.py")
    if path.name != "__init__.py"
)
COMMANDS = [
    name
    for name in MODULES
    if re.search(
        r"ArgumentParser\(", (REPOSITORY / f"{name.replace('.', '/')}.py").read_text("utf-8")
    )
]


@pytest.mark.parametrize("name", MODULES)
def test_the_module_can_be_imported(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_explains_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as done:
        importlib.import_module(name).main()
    assert done.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: ")
    assert "\n  --" in told or "\n  -h" in told


def test_commands_were_found() -> None:
    assert len(COMMANDS) > 20
