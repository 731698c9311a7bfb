"""A plain folder of images: no normal ones, no maps."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.cli.main import main
from protoanomalyncd.datasets import load_dataset
from tests.journeys.conftest import World


def test_the_images_score_one_another_and_predict_gives_the_same_classes(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, run = tmp_path / "images", tmp_path / "run"
    shutil.copytree(world.images / "test", images)
    options = ("--detector.reference_images", 8, "--training.epochs", 1)
    assert world.discover(images, *options, "--out", run) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "score one another" in line]
    assert said == [
        "no normal images (train/good) and no --maps: the images score one another; "
        "with either of them weak defects are found better"
    ]
    model = json.loads((run / "model" / "model.json").read_text())
    assert model["detector"]["name"] == "mutual_scoring"
    assert model["detector"]["arguments"]["reference_images"] == 8
    assert main(["predict", str(run / "model"), str(images), "--out", str(tmp_path / "p")]) == 0
    first, again = run / "predictions.csv", tmp_path / "p" / "predictions.csv"
    assert first.read_bytes() == again.read_bytes()
    with first.open(newline="") as file:
        expected = {row["image"]: row["class"] for row in csv.DictReader(file)}
    loaded = ProtoAnomalyNCD.from_pretrained(run / "model")
    for sample in load_dataset(images).unlabelled[:3]:
        found = loaded.predict([sample]).images[0]
        assert loaded.predict([sample]).class_name(found.class_id) == expected[sample.name]


def test_with_normal_images_nothing_is_said(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--training.epochs", 1, "--out", tmp_path / "run")
    assert world.discover(world.images, *options) == 0
    assert "score one another" not in capsys.readouterr().out
    model = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert model["detector"]["name"] == "patch_memory"


def test_two_images_are_too_few(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for number, path in enumerate(sorted((world.images / "test" / "good").iterdir())[:2]):
        shutil.copy(path, tmp_path / "images" / f"{number}.png")
    assert world.discover(tmp_path / "images", "--out", tmp_path / "run") == 2
    assert "expected at least 3 different images" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
