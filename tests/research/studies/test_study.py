"""study.py: rows, grids, one line for what is wrong; every committed study is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError
from research.published import Published
from research.studies.study import merged, read_study

REPOSITORY = Path(__file__).parents[3]
CONFIGS = REPOSITORY / "research" / "configs"


def write(folder: Path, **values: Any) -> Path:
    path = folder / "study.yaml"
    text = yaml.safe_dump({"images": "DATA", **values}, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_change_the_base_and_the_seed_comes_last(tmp_path: Path) -> None:
    base = {"n_novel_classes": 4, "training": {"epochs": 3, "views": 2}}
    rows = {"one": {"training.epochs": 9}, "two": {"embedding": {"guidance": {"mode": "hard"}}}}
    study = read_study(write(tmp_path, base=base, rows=rows, seeds=[5, 6]))
    first, second = (study.config(row, 6) for row in study.rows)
    assert (first.training.epochs, first.training.views, first.seed) == (9, 2, 6)
    assert second.embedding.guidance.mode == "hard"
    assert second.training.epochs == 3
    assert [row.name for row in study.rows] == ["one", "two"]


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    grid = {"training.views": [2, 3], "published.n_heads": [1, 4]}
    study = read_study(write(tmp_path, grid=grid))
    assert [row.name for row in study.rows] == [
        "views 2, n_heads 1",
        "views 2, n_heads 4",
        "views 3, n_heads 1",
        "views 3, n_heads 4",
    ]
    config = study.config(study.rows[1], 0)
    assert (config.training.views, study.published(study.rows[1]).n_heads) == (2, 4)


def test_a_row_may_be_a_file_of_settings_and_another_method(tmp_path: Path) -> None:
    rows = {
        "preset": str(CONFIGS / "anomalyncd.yaml"),
        "plain": {"method": "kmeans", "features": "masked"},
    }
    study = read_study(write(tmp_path, rows=rows))
    assert study.published(study.rows[0]).n_heads == 4
    assert study.config(study.rows[0], 0).embedding.guidance.mode == "hard"
    assert (study.rows[1].method, study.rows[1].features) == ("kmeans", "masked")


def test_data_and_seeds_may_be_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, rows={"a": {}}, maps="MAPS", object_masks="OBJECTS")
    study = read_study(path, images="OTHER", maps=None, seeds=[7])
    assert (study.images, study.maps, study.seeds) == (Path("OTHER"), Path("MAPS"), (7,))
    assert study.object_masks == Path("OBJECTS")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": {"a": {"training.epochs": 0}}}, "row 'a': training.epochs: expected at least 1"),
        ({"rows": {"a": {"speed": 1}}}, "row 'a': unknown setting speed"),
        ({"rows": {"a": {"published.heads": 1}}}, "row 'a': unknown option published.heads"),
        ({"rows": {"a": {"published.start": "x"}}}, "row 'a': published.start: expected clusters"),
        ({"rows": {"a": {"method": "magic"}}}, "row 'a': method: expected one of discover"),
        ({"rows": {"a": {"features": "x"}}}, "row 'a': features: expected one of unguided"),
        ({"rows": {}}, "expected rows: or grid:"),
        ({"grid": {"training.views": 2}}, "grid: expected a list of values by setting"),
        ({"rows": {"a": {}}, "seeds": []}, "seeds: expected a list"),
        ({"rows": {"a": {}}, "colour": 1}, "unknown entry 'colour'; known here: images"),
        ({"rows": {"a": {}}, "images": None}, "expected the folder of the images"),
        ({"rows": {"a": {}}, "base": 3}, "expected settings by name, or a YAML file, got 3"),
        ({"grid": {"training.views": [2, 2]}}, "rows: expected different names"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_study(write(tmp_path, **values))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- 1", "a: [", None])
def test_an_unreadable_study_is_told(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "study.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"study\.yaml: expected"):
        read_study(path)


def test_merging_keeps_both_and_changes_neither() -> None:
    first, second = {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": 4}
    assert merged(first, second) == {"a": {"b": 1, "c": 3}, "d": 4}
    assert first == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize(
    "path",
    sorted((CONFIGS / "ablations").glob("*.yaml")),
    ids=lambda p: p.stem,
)
def test_committed_studies_are_valid_and_say_their_command(path: Path) -> None:
    assert len(read_study(path).rows) >= 2
    assert f"python -m research.ablate research/configs/ablations/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", sorted((CONFIGS).glob("*.yaml")))
def test_committed_settings_are_valid_and_say_their_command(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    assert Published.from_dict(values.pop("published")) != Published()
    assert Config.from_dict(values) != Config()
    assert f": research/configs/{path.name}}}" in text  # as a row of a study
