"""Known and novel classes together, no labelled set at all, and what is rejected."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import statistics
from pathlib import Path

import pytest

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.cli.main import main
from protoanomalyncd.config import OutlierConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import OUTLIER
from protoanomalyncd.datasets.generated import generate_labelled
from protoanomalyncd.discovery.classifier import RegionClassifier
from tests.journeys.conftest import World
from tests.tiny import SIDE, TYPES


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def mixed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose unlabelled images hold two labelled classes."""
    folder = tmp_path_factory.mktemp("mixed")
    labelled = generate_labelled(
        folder / "known", ("leather",), types=TYPES[:2], n_per_type=4, size=SIDE
    )
    out = folder / "run"
    options = ("--classes", "all", "--outliers.false_rejection_rate", "0.2")
    assert world.discover(world.images, "--labelled", labelled, *options, "--out", out) == 0
    return out


def test_known_classes_go_by_their_names(mixed: Path) -> None:
    model = ProtoAnomalyNCD.from_pretrained(mixed / "model")
    n_novel = len(TYPES) + 1
    assert model.catalogue_.names[n_novel:] == TYPES[:2]
    assert model.catalogue_.known_classes == (n_novel, n_novel + 1)
    assert model.config.classes == "all"
    names = {*model.catalogue_.names, "outlier"}
    assert {row["class"] for row in rows(mixed / "regions.csv")} <= names


def test_accuracy_is_told_over_all_old_and_new_classes(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = json.loads((mixed / "metrics.json").read_text())
    assert metrics["known_classes"] == list(TYPES[:2])
    split = metrics["split_accuracy"]
    assert (split["n_old"], split["n_new"]) == (8, 8)
    assert split["all"] == pytest.approx((split["old"] + split["new"]) / 2) == metrics["f1"]
    assert main(["evaluate", str(mixed), "--json", str(tmp_path / "m.json")]) == 0
    assert f"old (labelled) {split['old']:.3f}" in capsys.readouterr().out
    assert json.loads((tmp_path / "m.json").read_text())["split_accuracy"] == split


def test_a_known_class_that_wins_is_shown_everywhere(
    world: World, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prototype is put where one image lies."""
    model = ProtoAnomalyNCD.from_pretrained(mixed / "model")
    model.classifier_.threshold = None
    sample = sorted((world.images / "test" / TYPES[0]).iterdir())[0]
    only = tmp_path / "images"
    only.mkdir()
    shutil.copy(sample, only)
    seen = []
    features = RegionClassifier.features
    with monkeypatch.context() as patched:
        patched.setattr(
            RegionClassifier, "features", lambda *a: seen.append(features(*a)) or seen[-1]
        )
        model.predict(only)
    prototypes = model.classifier_.head.prototypes.detach().clone()
    prototypes[0] = seen[0].embeddings[0]
    model.classifier_.head.set_prototypes(prototypes)
    model.save_pretrained(tmp_path / "model")
    for classes in ("all", "novel"):
        arguments = [str(tmp_path / "model"), str(only), "--out", str(tmp_path / classes)]
        assert main(["predict", *arguments, "--classes", classes, "--quiet"]) == 0
    assert rows(tmp_path / "all" / "predictions.csv")[0]["class"] == TYPES[0]
    assert rows(tmp_path / "all" / "regions.csv")[0]["class"] == TYPES[0]
    assert "a labelled class" in (tmp_path / "all" / "report.html").read_text(encoding="utf-8")
    assert rows(tmp_path / "novel" / "predictions.csv")[0]["class"] not in TYPES[:2]
    report = (tmp_path / "novel" / "report.html").read_text(encoding="utf-8")
    assert "a labelled class" not in report


def test_novel_and_all_are_the_only_answers(world: World) -> None:
    model = ProtoAnomalyNCD.from_pretrained(world.run / "model")
    with pytest.raises(ConfigurationError, match="classes: expected novel or all, got 'old'"):
        model.predict(world.images, classes="old")  # type: ignore[arg-type]


def test_a_run_without_a_labelled_set(world: World, tmp_path: Path) -> None:
    """From start to end: fit, reject at a rate, save, predict; "all" classes are the novel ones."""
    config = dataclasses.replace(
        world.config, outliers=OutlierConfig(false_rejection_rate=0.1), classes="all"
    )
    model = ProtoAnomalyNCD(config).fit(world.images)
    assert model.base_classes_ == model.catalogue_.known_classes == ()
    assert model.classifier_.threshold is not None
    saved = model.save_pretrained(tmp_path / "model")
    again = ProtoAnomalyNCD.from_pretrained(saved)
    assert again.classifier_.threshold == model.classifier_.threshold
    found = again.predict(world.images)
    assert found.images == model.discovery_.images
    assert found.images == again.predict(world.images, classes="novel").images


def test_what_is_rejected_is_minus_one_in_every_output(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(world.run / "model", model)
    scores = [float(row["outlier_score"]) for row in rows(world.run / "predictions.csv")]
    values = json.loads((model / "model.json").read_text())
    values["outliers"]["threshold"] = limit = statistics.median(scores)
    (model / "model.json").write_text(json.dumps(values))
    out = tmp_path / "out"
    assert main(["predict", str(model), str(world.images), "--out", str(out), "--quiet"]) == 0
    assert "could not be named" in capsys.readouterr().out
    for name in ("predictions.csv", "regions.csv"):
        for row in rows(out / name):
            assert (row["class_id"] == "-1") == (row["class"] == "outlier")
            if abs(float(row["outlier_score"]) - limit) > 1e-5:
                assert (row["class_id"] == "-1") == (float(row["outlier_score"]) > limit)
    n_rejected = sum(row["class_id"] == "-1" for row in rows(out / "predictions.csv"))
    assert 0 < n_rejected < len(scores)
    assert "could not be named" in (out / "report.html").read_text(encoding="utf-8")
    assert main(["evaluate", str(out), "--json", str(tmp_path / "m.json")]) == 0
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert metrics["found"][-1] == OUTLIER
    assert metrics["n_rejected"] == n_rejected
    found = ProtoAnomalyNCD.from_pretrained(model).predict(world.images)
    assert sum(i.class_id == OUTLIER for i in found.images) == n_rejected
    rejected = {r.region.image for r in found.regions if r.class_id == OUTLIER}
    assert rejected == {i.name for i in found.images if i.class_id == OUTLIER}
