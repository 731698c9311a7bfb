"""shared_work.py: what shares a stage, and what does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from protoanomalyncd.config import Config
from research.published import Published
from research.studies.shared_work import (
    FROM_A_FOLDER,
    WITHOUT_INFLUENCE,
    SharedWork,
    stage_keys,
)

STAGES = ("maps", "crops", "labelled", "tokens")


def change(name: str, value: Any) -> Config:
    for part in reversed(name.split(".")):
        value = {part: value}
    return Config.from_dict(value)


def keys_of(
    config: Config | None = None,
    data: str = "data",
    given: bool = False,
    published: Published | None = None,
) -> dict[str, str]:
    return stage_keys(config or Config(), published or Published(), data, given)


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("n_novel_classes", 9, ()),
        ("prototypes.entropy_weight", 4.0, ()),
        ("published.n_heads", 4, ()),
        ("published.sampling", "weighted", ()),
        ("training.learning_rate", 0.5, ()),
        ("outliers.score", "cosine2", ()),
        ("embedding.normal_gate_quantile", 0.5, ()),
        ("embedding.descriptor_weight", 0.3, ()),
        ("embedding.patch_weight", 0.3, ()),
        ("embedding.whitening", 0.7, ()),
        ("embedding.guidance.beta", 2.0, ("tokens",)),
        ("embedding.input_size", 192, ("tokens",)),
        ("training.views", 8, ("tokens",)),
        ("published.recolouring", "reference", ("tokens",)),
        ("published.guidance", "reference", ("tokens",)),
        ("training.labelled_per_class", 7, ("labelled", "tokens")),
        ("mebin.step", 2, ("crops", "tokens")),
        ("published.mebin", "reference", ("crops", "tokens")),
        ("published.crops", "reference", ("crops", "labelled", "tokens")),
        ("crops.margin", 0.7, ("crops", "labelled", "tokens")),
        ("detector.memory_size", 10, ("maps", "crops", "tokens")),
        ("detector.whitening", 3.0, ("maps", "crops", "tokens")),
        ("embedding.backbone", "other", ("maps", "crops", "tokens")),
        ("seed", 3, STAGES),
    ],
)
def test_a_setting_changes_the_keys_of_what_depends_on_it(
    name: str, value: Any, changed: tuple[str, ...]
) -> None:
    before = keys_of()
    if name.startswith("published."):
        after = keys_of(published=Published.from_dict({name.removeprefix("published."): value}))
    else:
        after = keys_of(change(name, value))
    assert {stage for stage in STAGES if before[stage] != after[stage]} == set(changed)


def test_given_maps_depend_on_no_seed_and_no_network() -> None:
    other = dataclasses.replace(change("embedding.backbone", "other"), seed=3)
    before, after = (keys_of(c, given=True) for c in (Config(), other))
    assert before["maps"] == after["maps"]
    assert before["crops"] == after["crops"]
    assert before["tokens"] != after["tokens"]
    assert keys_of(data="other data", given=True)["maps"] != before["maps"]


@pytest.mark.parametrize(
    "name", sorted({n for s in WITHOUT_INFLUENCE.values() for n in s} | {*FROM_A_FOLDER})
)
def test_only_settings_that_exist_are_named(name: str) -> None:
    values: Any = {**Config().to_dict(), "published": dataclasses.asdict(Published())}
    for part in name.split("."):
        assert part in values, f"{name}: there is no such setting; correct shared_work.py"
        values = values[part]


def finished(work: Path) -> Path:
    for name in ("maps", "crops", "tokens", "training"):
        (work / name).mkdir(parents=True)
        (work / name / "file").write_text(name)
    (work / "detector.json").write_text("{}")
    return work


def test_what_one_run_made_the_next_one_finds(tmp_path: Path) -> None:
    shared, keys = SharedWork(tmp_path / "shared"), keys_of()
    first, second = finished(tmp_path / "first"), tmp_path / "second"
    shared.keep(keys, first)
    assert (first / "training").is_dir()
    shared.lend(keys, second)
    assert {path.name for path in second.iterdir()} == {"maps", "crops", "tokens", "detector.json"}
    assert (second / "crops" / "file").read_text() == "crops"
    shared.keep(keys, second)  # nothing new: what was lent stays
    assert (second / "crops" / "file").read_text() == "crops"
    shared.lend(keys, second)


def test_a_run_with_other_tokens_gets_maps_and_crops(tmp_path: Path) -> None:
    shared = SharedWork(tmp_path / "shared")
    shared.keep(keys_of(), finished(tmp_path / "first"))
    other = keys_of(change("training.views", 8))
    shared.lend(other, tmp_path / "second")
    assert not (tmp_path / "second" / "tokens").exists()
    assert (tmp_path / "second" / "maps" / "file").is_file()


def test_what_nobody_needs_is_removed(tmp_path: Path) -> None:
    shared, keys = SharedWork(tmp_path / "shared"), keys_of()
    shared.forget_all_but([])  # there is nothing yet
    shared.keep(keys, finished(tmp_path / "first"))
    shared.forget_all_but([keys["maps"]])
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [keys["maps"]]
