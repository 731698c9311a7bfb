"""The main job from the command line and from Python, on tiny images."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.cli.main import main
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError, NotFittedError
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.reports.compose import compose_report
from tests.journeys.conftest import World
from tests.tiny import TYPES

RESULTS = {
    "config.yaml",
    "metrics.json",
    "model",
    "predictions.csv",
    "regions.csv",
    "report.html",
    "run.log",
}
N_IMAGES = 4 * (len(TYPES) + 1)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def classes(folder: Path) -> dict[str, str]:
    """File name -> class: its stem and type folder may have been renamed."""
    return {row["image"]: row["class"] for row in rows(folder / "predictions.csv")}


def metrics(folder: Path) -> dict[str, object]:
    values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for name in ("seconds", "peak_memory_mb", "config_hash"):
        values.pop(name)
    return dict(values)


def results(found: Discovery) -> dict[str, tuple[int, float, float]]:
    return {i.name: (i.class_id, i.confidence, i.outlier_score) for i in found.images}


def assert_same_run(first: Path, second: Path) -> None:
    assert metrics(first) == metrics(second)
    for name in ("predictions.csv", "regions.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    for name in ("model.safetensors", "detector.safetensors"):
        assert (first / "model" / name).read_bytes() == (second / "model" / name).read_bytes()


def test_a_run_holds_what_it_should(world: World) -> None:
    assert {p.name for p in world.run.iterdir()} == RESULTS
    assert not list(world.run.parent.glob(".*"))  # nothing is left beside it
    predictions = rows(world.run / "predictions.csv")
    assert len(predictions) == N_IMAGES
    assert {row["true_class"] for row in predictions} == {*TYPES, "good"}
    assert all(0 < float(row["confidence"]) <= 1 for row in predictions)
    regions = rows(world.run / "regions.csv")
    assert {row["image"] for row in regions} <= {row["image"] for row in predictions}
    values = json.loads((world.run / "metrics.json").read_text())
    assert 0 <= values["nmi"] <= 1
    assert values["n_classes_true"] == len(TYPES) + 1
    assert 1 <= values["n_classes_found"] <= len(TYPES) + 1
    assert set(values["seconds"]) > {"total"}
    assert values["config_hash"] == world.config.hash()
    page = (world.run / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    settings = yaml.safe_load((world.run / "config.yaml").read_text())
    assert settings["images"] == str(world.images)
    assert {p.name for p in (world.run / "model").iterdir()} == {
        "detector.safetensors",
        "model.json",
        "model.safetensors",
    }


def test_evaluate_tells_the_same_metrics(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(world.run), "--json", str(tmp_path / "m.json")]) == 0
    again, first = json.loads((tmp_path / "m.json").read_text()), metrics(world.run)
    assert all(again[name] == first[name] for name in ("nmi", "ari", "f1", "n_classes_true"))
    assert f"NMI {first['nmi']:.3f}" in capsys.readouterr().out


def test_predict_gives_the_runs_own_classes(world: World, tmp_path: Path) -> None:
    model, out = world.run / "model", tmp_path / "pred"
    arguments = ["predict", str(model), str(world.images), "--out", str(out), "--quiet"]
    assert main(arguments) == 0
    assert (out / "predictions.csv").read_bytes() == (world.run / "predictions.csv").read_bytes()
    assert (out / "report.html").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["pred"]
    assert main(arguments) == 2
    assert main([*arguments, "--overwrite"]) == 0


def test_one_image_a_call_gives_what_all_together_give(world: World) -> None:
    model = ProtoAnomalyNCD.from_pretrained(world.run / "model")
    samples = load_dataset(world.images).unlabelled
    together = results(model.predict(samples))
    alone: dict[str, tuple[int, float, float]] = {}
    for sample in samples:
        alone |= results(model.predict([sample]))
    assert alone == together
    assert results(model.predict(samples[::-1])) == together


def test_names_of_the_type_folders_change_no_prediction(world: World, tmp_path: Path) -> None:
    """Types renamed and shuffled, `good` too; stems and order fixed."""
    shuffled = dict(zip(("good", *TYPES), ("type_b", "zzz", "good", "aaa"), strict=True))
    for old, new in shuffled.items():
        shutil.copytree(world.images / "test" / old, tmp_path / "images" / "test" / new)
    shutil.copytree(world.images / "train", tmp_path / "images" / "train")
    out = tmp_path / "run"
    assert world.discover(tmp_path / "images", "--labelled", world.labelled, "--out", out) == 0
    before, after = classes(world.run), classes(out)
    for name, found in before.items():
        _, kind, stem = name.split("/")
        assert after[f"test/{shuffled[kind]}/{stem}"] == found
    for name in ("model.safetensors", "detector.safetensors"):
        own = (world.run / "model" / name).read_bytes()
        assert (out / "model" / name).read_bytes() == own


def test_the_runs_configuration_reproduces_it(world: World, tmp_path: Path) -> None:
    out = tmp_path / "again"
    assert main(["discover", "--config", str(world.run / "config.yaml"), "--out", str(out)]) == 0
    assert_same_run(world.run, out)


class StoppedError(KeyboardInterrupt):
    pass


def stop_at(stage: str, done: int) -> Callable[[str, int, int], None]:
    def on_progress(now: str, step: int, total: int) -> None:
        if (now, step) == (stage, done):
            raise StoppedError

    return on_progress


@pytest.mark.parametrize(
    "places",
    [
        [("fit detector", 3), ("score images", 5), ("find regions", 7)],
        [("crop labelled images", 2), ("embed views", 8), ("train", 1), ("train", 3)],
    ],
)
def test_an_interrupted_fit_goes_on_and_ends_the_same(
    world: World, tmp_path: Path, places: Sequence[tuple[str, int]]
) -> None:
    for place in places:
        with pytest.raises(StoppedError):
            ProtoAnomalyNCD(world.config).fit(
                world.images,
                labelled=world.labelled,
                work_dir=tmp_path,
                on_progress=stop_at(*place),
            )
    model = ProtoAnomalyNCD(world.config)
    model.fit(world.images, labelled=world.labelled, work_dir=tmp_path)
    found = {i.name: model.discovery_.class_name(i.class_id) for i in model.discovery_.images}
    assert found == classes(world.run)
    model.save_pretrained(tmp_path / "model")
    for name in ("model.safetensors", "detector.safetensors"):
        own = (world.run / "model" / name).read_bytes()
        assert (tmp_path / "model" / name).read_bytes() == own


def test_the_same_command_after_an_interrupt_goes_on(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    arguments = (world.images, "--labelled", world.labelled, "--out", out)
    fit = ProtoAnomalyNCD.fit

    def interrupted(self: ProtoAnomalyNCD, *given: object, **named: object) -> ProtoAnomalyNCD:
        return fit(self, *given, **{**named, "on_progress": stop_at("train", 1)})  # type: ignore[arg-type]

    monkeypatch.setattr(ProtoAnomalyNCD, "fit", interrupted)
    assert world.discover(*arguments) == 130
    assert "interrupted; the same command goes on where it stopped" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr(ProtoAnomalyNCD, "fit", fit)
    assert world.discover(*arguments) == 0
    assert "going on with the interrupted run" in capsys.readouterr().out
    assert_same_run(world.run, out)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_killed_process_goes_on_and_ends_the_same(world: World, tmp_path: Path) -> None:
    """SIGKILL, as soon as there are tokens; then the same command."""
    out = tmp_path / "run"
    arguments = ["discover", "--config", str(world.settings), "--quiet", str(world.images)]
    arguments += ["--labelled", str(world.labelled), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "protoanomalyncd.cli.main", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    state = tmp_path / ".run.partial" / "work" / "fit" / "tokens" / "tokens.json"
    deadline = time.monotonic() + 300
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists()
    assert not out.exists()
    assert main(arguments) == 0
    assert classes(out) == classes(world.run)
    assert metrics(out) == metrics(world.run)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def draw_maps(images: Path, folder: Path, suffix: str) -> Path:
    """Maps from the ground truth: soft blobs where the mask is, noise elsewhere."""
    rng = np.random.default_rng(0)
    for sample in load_dataset(images).unlabelled:
        amap = 0.1 * rng.random((16, 16))
        if sample.mask_path is not None:
            amap += cv2.resize(np.asarray(Image.open(sample.mask_path)) / 255.0, (16, 16))
        path = (folder / sample.name).with_suffix(f".{suffix.split('-', maxsplit=1)[0]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "npy":
            np.save(path, amap)
        elif suffix == "tiff":
            cv2.imwrite(str(path), amap.astype(np.float32))
        elif suffix == "png-16":
            cv2.imwrite(str(path), (60000 * np.clip(amap, 0, 1)).astype(np.uint16))
        else:
            cv2.imwrite(str(path), (250 * np.clip(amap, 0, 1)).astype(np.uint8))
    return folder


@pytest.mark.parametrize("suffix", ["png-8", "png-16", "npy", "tiff"])
def test_maps_of_another_detector(
    world: World, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain folder of images with a folder of maps; without a labelled set."""
    images, out = world.images / "test", tmp_path / "run"
    maps = draw_maps(world.images, tmp_path / "all", suffix) / "test"
    assert world.discover(images, "--maps", maps, "--out", out) == 0
    assert len(rows(out / "predictions.csv")) == N_IMAGES
    values = json.loads((out / "metrics.json").read_text())
    assert values["nmi"] is None  # a plain folder has no true classes
    assert main(["evaluate", str(out)]) == 2
    capsys.readouterr()
    if suffix != "npy":
        return
    arguments = ["predict", str(out / "model"), str(images), "--quiet", "--out"]
    assert main([*arguments, str(tmp_path / "p")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this model was fitted with maps from a folder: expected --maps")
    assert error.count("\n") == 1
    assert main([*arguments, str(tmp_path / "p"), "--maps", str(maps)]) == 0
    assert classes(tmp_path / "p") == classes(out)


def test_a_model_with_its_own_detector_takes_no_maps(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = draw_maps(world.images, tmp_path / "maps", "npy")
    arguments = ["predict", str(world.run / "model"), str(world.images), "--maps", str(maps)]
    assert main([*arguments, "--out", str(tmp_path / "p")]) == 2
    assert "expected no --maps" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_copies_of_an_image_get_the_same_class(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for sample in load_dataset(world.images).unlabelled[:3]:
        for copy in ("a", "b"):
            shutil.copy(
                sample.path, folder / f"{copy}_{sample.path.parent.name}_{sample.path.name}"
            )
    found = ProtoAnomalyNCD.from_pretrained(world.run / "model").predict(folder)
    ids = {i.name: i.class_id for i in found.images}
    assert len(ids) == 6
    assert all(ids[f"b{name[1:]}"] == class_id for name, class_id in ids.items())


@pytest.fixture
def fitted(world: World, tmp_path: Path) -> ProtoAnomalyNCD:
    """A fresh model, fitted on the world's data through Python."""
    return ProtoAnomalyNCD(world.config).fit(world.images, labelled=world.labelled)


def test_the_journey_of_the_class_docstring(
    world: World, fitted: ProtoAnomalyNCD, tmp_path: Path
) -> None:
    found = fitted.discovery_
    assert {i.name: found.class_name(i.class_id) for i in found.images} == classes(world.run)
    fitted.catalogue_.rename(3, "scratch")
    fitted.catalogue_.merge([1, 2])
    renamed = fitted.discovery_
    assert renamed.class_names[3] == "scratch"
    assert not any(i.class_id == 2 for i in renamed.images)
    assert found.class_names[3] == "defect 3"
    page = compose_report(renamed, tmp_path / "report.html", "classes")
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    fitted.save_pretrained(tmp_path / "model")
    again = ProtoAnomalyNCD.from_pretrained(tmp_path / "model")
    assert again.catalogue_.names == fitted.catalogue_.names
    assert again.base_classes_ == ("burn", "crack")
    assert again.config.training == world.config.training
    assert again.config.embedding.backbone == "local-dir:network"  # no path of this machine
    assert results(again.predict(world.images)) == results(renamed)
    with pytest.raises(NotFittedError, match="call fit first; a loaded model has predict"):
        _ = again.discovery_
    # A model fitted again forgets the first fit.
    fitted.fit(world.images)
    assert fitted.base_classes_ == ()
    assert fitted.catalogue_.names[3] == "defect 3"


def test_an_unfitted_model_says_so(tmp_path: Path) -> None:
    model = ProtoAnomalyNCD(Config())
    for call in (
        lambda: model.discovery_,
        lambda: model.catalogue_,
        lambda: model.map_range_,
        lambda: model.predict(tmp_path),
        lambda: model.save_pretrained(tmp_path / "m"),
    ):
        with pytest.raises(NotFittedError, match="call fit"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_generate_draws_what_discover_reads(tmp_path: Path) -> None:
    out = tmp_path / "images"
    arguments = ["generate", str(out), "--product", "leather", "--types", "hole", "stain"]
    arguments += ["--n-normal", "2", "--n-per-type", "2", "--size", "64"]
    assert main(arguments) == 0
    assert len(load_dataset(out).unlabelled) == 6
    assert len(load_dataset(out).normal) == 2


def test_a_fit_that_fails_leaves_the_model_as_it_was(world: World, tmp_path: Path) -> None:
    model = ProtoAnomalyNCD(world.config)
    model.fit(world.images)
    before, found, seconds = model.model_, model.predict(world.images), dict(model.seconds_)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "train":
            raise RuntimeError("stop")

    (tmp_path / "other" / "test").mkdir(parents=True)
    shutil.copytree(world.images / "test" / "good", tmp_path / "other" / "test" / "good")
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(tmp_path / "other", on_progress=stop)
    assert model.model_ is before
    assert model.predict(world.images) == found
    model.fit(world.images)
    assert set(model.seconds_) == set(seconds)
    assert sum(model.seconds_.values()) < 1.9 * sum(seconds.values())


def test_a_work_folder_belongs_to_one_fit(world: World, tmp_path: Path) -> None:
    work, config = tmp_path / "work", world.config
    first = ProtoAnomalyNCD(config).fit(world.images, work_dir=work)
    again = ProtoAnomalyNCD(config).fit(world.images, work_dir=work)
    assert again.discovery_.images == first.discovery_.images
    with pytest.raises(ConfigurationError, match="that of other images or settings"):
        ProtoAnomalyNCD(config, seed=7).fit(world.images, work_dir=work)
    shutil.copytree(world.images, tmp_path / "others")
    next((tmp_path / "others" / "test").glob("*/*.png")).unlink()
    with pytest.raises(ConfigurationError, match="give an empty folder"):
        ProtoAnomalyNCD(config).fit(tmp_path / "others", work_dir=work)
