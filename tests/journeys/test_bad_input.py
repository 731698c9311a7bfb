"""Every bad input: one line that says what was expected, what came and what to do; exit status 2.

What can go on without the bad file goes on, and lists it as skipped.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.cli.main import main
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError, ModelFormatError, OutputError
from protoanomalyncd.datasets import load_dataset
from tests.journeys.conftest import World
from tests.tiny import SIDE, network_folder

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def images(world: World, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(world.images, tmp_path / "images"))


def maps_for(images: Path, folder: Path) -> Path:
    """Random maps for the test images, as npy."""
    rng = np.random.default_rng(0)
    for sample in load_dataset(images).unlabelled:
        path = (folder / sample.name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.random((16, 16)).astype(np.float32))
    return folder


def refused(status: int, capsys: Capture, *said: str) -> str:
    """The one line of a command that failed."""
    error = capsys.readouterr().err
    assert status == 2, error
    assert error.startswith("error: "), error
    assert error.count("\n") == 1, error
    for text in said:
        assert text in error
    return error


def left_over(folder: Path) -> list[str]:
    """Anything that a failed command may have left in a folder."""
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(".") or p.name == "run")


Spoil = Callable[[Path], object]


def _grey(path: Path) -> None:
    Image.open(path).convert("L").save(path)


def _rgba(path: Path) -> None:
    Image.open(path).convert("RGBA").save(path)


def _sixteen(path: Path) -> None:
    grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


def _float(path: Path) -> None:
    target = path.with_suffix(".tiff")
    Image.fromarray(np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)).save(target)
    path.unlink()


BAD_IMAGES: dict[str, tuple[Spoil, str]] = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:200]), "truncated or damaged"),
    "no image": (lambda p: p.write_text("hello"), "another or a damaged format"),
    "empty": (lambda p: p.write_bytes(b""), "0 bytes"),
    "too small": (lambda p: Image.new("RGB", (5, 9)).save(p), "at least 8 x 8"),
    "float": (_float, "expected 8 or 16 bits"),
    "dangling link": (lambda p: (p.unlink(), p.symlink_to("nowhere.png")), "link"),
}
GOOD_IMAGES: dict[str, Spoil] = {"grey": _grey, "rgba": _rgba, "16 bit": _sixteen}


def test_bad_images_are_skipped_and_the_others_go_on(
    world: World, images: Path, tmp_path: Path, capsys: Capture
) -> None:
    places = sorted(p for p in images.glob("test/*/*.png") if p.parent.name != "good")
    spoiled = dict(zip(BAD_IMAGES, places, strict=False))
    for kind, path in spoiled.items():
        BAD_IMAGES[kind][0](path)
    converted = dict(zip(GOOD_IMAGES, places[len(spoiled) :], strict=False))
    for kind, path in converted.items():
        GOOD_IMAGES[kind](path)
    (images / "train" / "good" / "000.png").write_bytes(b"")
    (images / "test" / "notes.docx").touch()
    assert world.discover(images, "--out", tmp_path / "run") == 0
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        names = {row["image"] for row in csv.DictReader(file)}
    assert len(names) == len(places) + 4 - len(spoiled)
    assert {p.relative_to(images).as_posix() for p in converted.values()} <= names
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    log = (tmp_path / "run" / "run.log").read_text(encoding="utf-8")
    told = capsys.readouterr().out
    for kind, path in spoiled.items():
        assert path.stem in page
        assert BAD_IMAGES[kind][1] in " ".join(page.split()), kind
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["n_skipped"] >= 7
    assert told.count("skipped") >= 7
    assert "finished" in log


def test_only_bad_images(world: World, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    shutil.copytree(world.images / "train" / "good", tmp_path / "images" / "train" / "good")
    (tmp_path / "images" / "test" / "a").mkdir(parents=True)
    (tmp_path / "images" / "test" / "a" / "1.png").write_bytes(b"x")
    status = world.discover(tmp_path / "images", "--out", tmp_path / "run")
    refused(status, capsys, "expected at least one usable image", "first reason: test/a/1.png")
    assert left_over(tmp_path) == []
    model = world.run / "model"
    bad = tmp_path / "images" / "test" / "a"
    status = main(["predict", str(model), str(bad), "--quiet", "--out", str(tmp_path / "run")])
    refused(status, capsys, "expected at least one usable image", "first reason: 1.png")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("nothing there", "expected a folder of images, got nothing there; check the path"),
        ("a file", "expected a folder of images, got a file"),
        ("empty", "expected images (png"),
        ("only train", "expected images to classify in test/<type>"),
        ("two products", "expected the folder of one product"),
    ],
)
def test_folders_without_the_images(
    world: World, tmp_path: Path, case: str, said: str, capsys: Capture
) -> None:
    images = tmp_path / "images"
    if case == "a file":
        images.touch()
    elif case == "empty":
        images.mkdir()
    elif case == "no train/good":
        shutil.copytree(world.images / "test", images)
    elif case == "only train":
        shutil.copytree(world.images / "train", images / "train")
    elif case == "two products":
        for name in "ab":
            shutil.copytree(world.images / "train", images / name / "train")
    refused(world.discover(images, "--out", tmp_path / "run"), capsys, said)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("all missing", "expected anomaly maps (.npy"),
        ("no folder", "expected a folder of anomaly maps"),
        ("most missing", "expected an anomaly map for each image, 15 of 16 have none"),
        ("all equal", "no image stands out"),
        ("ambiguous", "keep one"),
        ("same stems", "expected an anomaly map for each image, got 002.npy for both"),
    ],
)
def test_maps_that_do_not_fit(
    world: World, tmp_path: Path, case: str, said: str, capsys: Capture
) -> None:
    maps = maps_for(world.images, tmp_path / "maps")
    files = sorted(maps.rglob("*.npy"))
    if case == "all missing":
        for file in files:
            file.unlink()
    elif case == "no folder":
        shutil.rmtree(maps)
    elif case == "most missing":
        for file in files[1:]:
            file.unlink()
    elif case == "all equal":
        for file in files:
            np.save(file, np.full((8, 8), 0.5, np.float32))
    elif case == "ambiguous":
        Image.new("L", (8, 8)).save(files[0].with_suffix(".png"))
    else:
        flat = tmp_path / "flat"
        flat.mkdir()
        for file in files[:4]:
            shutil.copy(file, flat / file.name)
        maps = flat
    status = world.discover(world.images, "--maps", maps, "--out", tmp_path / "run")
    refused(status, capsys, said)
    assert left_over(tmp_path) == []


def test_a_few_bad_maps_are_skipped(world: World, tmp_path: Path) -> None:
    maps = maps_for(world.images, tmp_path / "maps")
    files = sorted(maps.rglob("*.npy"))
    values = np.load(files[0])
    values[0, 0] = np.nan
    np.save(files[0], values)
    files[1].write_bytes(b"no array")
    np.save(files[2], np.zeros((4, 4, 3)))
    files[3].unlink()
    status = world.discover(world.images, "--maps", maps, "--out", tmp_path / "run")
    assert status == 0
    page = " ".join((tmp_path / "run" / "report.html").read_text(encoding="utf-8").split())
    for said in (
        "1 of 256 NaN or infinite",
        "cannot be read",
        "a coloured heat map",
        "no anomaly map",
    ):
        assert said in page
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["n_images"] == 12


def _one_class(known: Path) -> None:
    shutil.rmtree(known / "images" / "burn")


def _no_masks(known: Path) -> None:
    shutil.rmtree(known / "masks")


def _empty_masks(known: Path) -> None:
    for path in (known / "masks" / "burn").iterdir():
        Image.new("L", (SIDE, SIDE)).save(path)


def _wrong_masks(known: Path) -> None:
    for path in (known / "masks" / "burn").iterdir():
        Image.new("L", (SIDE, SIDE + 1), 255).save(path)


def _no_layout(known: Path) -> None:
    shutil.rmtree(known / "images")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_one_class, "expected at least 2 classes"),
        (_no_masks, "expected the masks of images/ in masks/"),
        (_empty_masks, "labelled class 'burn': expected at least one usable image"),
        (_wrong_masks, "labelled class 'burn': expected at least one usable image"),
        (_no_layout, "expected images/<class> and masks/<class>"),
        (shutil.rmtree, "got nothing there"),
    ],
)
def test_labelled_sets_that_do_not_do(
    world: World, tmp_path: Path, spoil: Spoil, said: str, capsys: Capture
) -> None:
    known = Path(shutil.copytree(world.labelled, tmp_path / "known"))
    spoil(known)
    status = world.discover(world.images, "--labelled", known, "--out", tmp_path / "run")
    refused(status, capsys, said)
    assert left_over(tmp_path) == []


def test_a_mask_of_a_wrong_size_is_skipped_before_and_after_an_interrupt(
    world: World, tmp_path: Path
) -> None:
    known = Path(shutil.copytree(world.labelled, tmp_path / "known"))
    mask = sorted((known / "masks" / "burn").iterdir())[0]
    Image.new("L", (SIDE, 2 * SIDE), 255).save(mask)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "embed views":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ProtoAnomalyNCD(world.config).fit(
            world.images, labelled=known, work_dir=tmp_path / "work", on_progress=stop
        )
    model = ProtoAnomalyNCD(world.config)
    model.fit(world.images, labelled=known, work_dir=tmp_path / "work")
    reasons = [s.reason for s in model.discovery_.skipped]
    assert len(reasons) == 1
    assert f"expected a mask of {SIDE} x {SIDE} pixels" in reasons[0]


def test_fewer_regions_than_classes(world: World, tmp_path: Path, capsys: Capture) -> None:
    status = world.discover(world.images, "--n-novel", "500", "--out", tmp_path / "run")
    refused(status, capsys, "expected at least as many anomalous regions as novel classes (500)")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--n-novel", "1"], "n_novel_classes: expected at least 2 or auto, got 1"),
        (["--n-novel", "many"], "many"),
        (["--kinds", "0"], "--kinds: expected at least 1, or auto, got '0'"),
        (["--kinds", "3", "--n-novel", "4"], "--kinds: expected no --n-novel beside it"),
        (["--seed", "-1"], "seed: expected in [0, 2147483647], got -1"),
        (["--training.epochs", "0"], "training.epochs: expected at least 1, got 0"),
        (["--training.epochs", "some"], "some"),
        (["--embedding.guidance.beta", "-1"], "guidance.beta: expected above 0, got -1"),
        (["--embedding.input_size", "72"], "expected a multiple of the backbone's stride 16"),
        (["--embedding.input_size", "96"], "embedding.input_size: expected at most crops.size"),
        (["--embedding.backbone", "resnet5000"], "unknown backbone 'resnet5000'"),
        (["--embedding.backbone", "local-dir:/nowhere"], "config.json is missing"),
        (["--embedding.backbone", "test_vit2"], "cannot be fetched"),
        (["--detector", "magic"], "detector: expected one of auto, folder, mutual_scoring,"),
        (["--detector", "folder"], "--maps"),
        (["--detector", "patch_memory", "--maps", "x"], "leave out one of them"),
        (["--detector.reference_images", "3"], "patch_memory has no option 'reference_images'"),
        (["--detector.memory_size", "0"], "detector.memory_size: expected at least 1, got 0"),
        (["--localiser", "magic"], "localiser: expected one of folder, grounded_sam, none, sam3"),
        (["--localiser", "sam3", "--object-masks", "x"], "leave out one of them"),
        (["--outlier-score", "magic"], "outliers.score: expected one of"),
        (["--outlier-score.k", "3"], "key_value_cache has no option 'k'; its options are sharp"),
        (["--mebin.mode", "fast"], "unknown setting mebin.mode"),
        (["--device", "abacus"], "device: expected one that this machine has"),
        (["--speed", "11"], "speed"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_bad_options(
    world: World, tmp_path: Path, arguments: list[str], said: str, capsys: Capture
) -> None:
    status = world.discover(world.images, "--out", tmp_path / "run", *arguments)
    refused(status, capsys, said)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("text", ["training: 5", "sped: 3", "a: [", "training:\n  epochs: lots"])
def test_a_bad_configuration_file(world: World, tmp_path: Path, text: str, capsys: Capture) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(text)
    out = tmp_path / "run"
    arguments = ["discover", "--config", str(settings), str(world.images), "--out", str(out)]
    refused(main(arguments), capsys)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("arguments", [[], ["discover"], ["dance"], ["predict", "model"]])
def test_incomplete_commands(arguments: list[str], capsys: Capture) -> None:
    refused(main(arguments), capsys, "--help")


def test_the_output_is_never_someone_elses(world: World, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.doc").touch()
    for extra in ([], ["--overwrite"]):
        refused(world.discover(world.images, "--out", out, *extra), capsys, "other files")
        model = ["predict", str(world.run / "model"), str(world.images), "--quiet"]
        refused(main([*model, "--out", str(out), *extra]), capsys, "--out")
    assert [p.name for p in out.iterdir()] == ["thesis.doc"]
    refused(world.discover(world.images, "--out", world.run), capsys, "holds finished results")
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        refused(world.discover(world.images, "--out", place), capsys, "expected a folder")
        refused(main([*model, "--out", str(place)]), capsys, "expected a folder")


def test_a_model_holds_no_pickle_and_no_path(world: World) -> None:
    model = world.run / "model"
    assert {p.suffix for p in model.iterdir()} == {".json", ".safetensors"}
    values = json.loads((model / "model.json").read_text())
    assert str(world.images.parent) not in json.dumps(values)


def test_a_model_needs_no_file_of_its_backbone(world: World, tmp_path: Path) -> None:
    from tests.tiny import tiny_config

    network = network_folder(tmp_path / "network")
    model = ProtoAnomalyNCD(tiny_config(network)).fit(world.images)
    model.save_pretrained(tmp_path / "model")
    shutil.rmtree(network)
    found = ProtoAnomalyNCD.from_pretrained(tmp_path / "model").predict(world.images)
    assert found.images == model.discovery_.images


def test_a_model_is_not_written_over_other_files(world: World, tmp_path: Path) -> None:
    model = ProtoAnomalyNCD.from_pretrained(world.run / "model")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    (tmp_path / "file").touch()
    for place in (tmp_path / "full", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="expected"):
            model.save_pretrained(place)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]
    model.save_pretrained(tmp_path / "model")
    model.catalogue_.rename(1, "new")
    model.save_pretrained(tmp_path / "model")
    assert ProtoAnomalyNCD.from_pretrained(tmp_path / "model").catalogue_.names[1] == "new"


def test_evaluate_without_predictions(tmp_path: Path, capsys: Capture) -> None:
    refused(main(["evaluate", str(tmp_path)]), capsys, "expected predictions.csv in it")
    (tmp_path / "predictions.csv").write_text("a,b\n1,2\n")
    refused(main(["evaluate", str(tmp_path)]), capsys, "predictions.csv")
    (tmp_path / "predictions.csv").write_bytes(b"\xff\x00")
    refused(main(["evaluate", str(tmp_path)]), capsys, "predictions.csv")


def test_from_python_the_same_errors_are_exceptions(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="device: expected one that this machine has"):
        ProtoAnomalyNCD(Config(), device="abacus")
    with pytest.raises(ModelFormatError, match="which is missing"):
        ProtoAnomalyNCD.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="n_novel_classes: expected at least 2"):
        ProtoAnomalyNCD(n_novel_classes=1)
