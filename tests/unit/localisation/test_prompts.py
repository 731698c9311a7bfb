"""Prompts, and the YAML file of prompts for each product."""

from __future__ import annotations

from pathlib import Path

import pytest

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.localisation import prompt_for, read_prompts
from protoanomalyncd.localisation.prompts import names_of


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("washer", ("washer",)),
        ("Metal  Washer.", ("metal washer",)),
        ("washer. gear ,nut\nbolt;", ("washer", "gear", "nut", "bolt")),
        ("washer. Washer", ("washer",)),
    ],
)
def test_names(prompt: str, expected: tuple[str, ...]) -> None:
    assert names_of(prompt) == expected


@pytest.mark.parametrize("prompt", ["", " . ,", "\n"])
def test_a_prompt_needs_a_name(prompt: str) -> None:
    with pytest.raises(ConfigurationError, match=r"localiser.prompt: expected a name"):
        names_of(prompt)


def test_prompts_of_products(tmp_path: Path) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text(
        "washer: metal washer\npcb: [circuit board, green board]\nleather: null\n7: bolt\n",
        encoding="utf-8",
    )
    prompts = read_prompts(path)
    assert prompt_for(prompts, "washer", path) == "metal washer"
    assert prompt_for(prompts, "pcb", path) == "circuit board. green board"
    assert prompt_for(prompts, "leather", path) is None
    assert prompt_for(prompts, "7", path) == "bolt"
    with pytest.raises(ConfigurationError, match="for the product 'gear', got 7, leather, pcb"):
        prompt_for(prompts, "gear", path)
    path.write_text("default: object", encoding="utf-8")
    assert prompt_for(read_prompts(path), "gear", path) == "object"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("washer", "expected lines such as"),
        ("", "expected lines such as"),
        ("- washer", "expected lines such as"),
        ("washer: 5", "washer: expected a text"),
        ("washer: []", "washer: expected a text"),
        ("washer: {a: b}", "washer: expected a text"),
        ("washer: [", "expected a YAML file"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=part) as caught:
        read_prompts(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"localiser.prompts: expected a YAML file"):
        read_prompts(tmp_path / "absent.yaml")
