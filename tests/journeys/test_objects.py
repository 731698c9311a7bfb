"""The main job with an object mask: it guides, it measures, it silences, and predict = fit."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.cli.main import main
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.deployment.export import export_model
from protoanomalyncd.localisation.objects import mask_map
from tests.journeys.conftest import World
from tests.tiny import SIDE
from tests.tiny_localisers import Checkpoints


@pytest.fixture(scope="module")
def masks(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disc of another place in every image; one mask is empty, one is of another size."""
    folder = tmp_path_factory.mktemp("object_masks")
    ys, xs = np.mgrid[:SIDE, :SIDE]
    for number, sample in enumerate(load_dataset(world.images).unlabelled):
        path = (folder / sample.name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        disc = (ys - 32) ** 2 + (xs - 20 - number % 20) ** 2 < 22**2
        if number == 1:
            disc = np.zeros_like(disc)
        if number == 2:
            disc = disc[::2, ::2]
        assert cv2.imwrite(str(path), disc.astype(np.uint16) * 65535)
    return folder


def results(found: Discovery) -> dict[str, tuple[int, float, float]]:
    return {i.name: (i.class_id, i.confidence, i.outlier_score) for i in found.images}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_masks_from_a_folder_from_the_command_line(
    world: World, masks: Path, tmp_path: Path
) -> None:
    run, pred = tmp_path / "run", tmp_path / "pred"
    arguments = (world.images, "--labelled", world.labelled, "--object-masks", masks)
    assert world.discover(*arguments, "--out", run) == 0
    assert (run / "predictions.csv").read_bytes() != (world.run / "predictions.csv").read_bytes()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'class="outline body"' in page
    assert "Used with a reservation" in page
    assert "its object mask is empty; the whole image is used" in page
    assert 'class="outline body"' not in (world.run / "report.html").read_text(encoding="utf-8")
    saved = json.loads((run / "model" / "model.json").read_text())["localiser"]
    assert saved == {"name": "folder", "arguments": {}}

    again = ["predict", str(run / "model"), str(world.images), "--out", str(pred), "--quiet"]
    assert main(again) == 2  # the masks of the new images are missing
    assert main([*again, "--object-masks", str(masks)]) == 0
    assert (pred / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    assert main([*again[:4], str(tmp_path / "x"), "--maps", str(masks)]) == 2
    with pytest.raises(ConfigurationError, match="the graph takes no object masks yet"):
        export_model(ProtoAnomalyNCD.from_pretrained(run / "model").model_, tmp_path / "graph")
    repeated = tmp_path / "repeated"
    assert main(["discover", "--config", str(run / "config.yaml"), "--out", str(repeated)]) == 0
    assert (repeated / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


def test_a_map_is_silent_outside_the_object(world: World, masks: Path, tmp_path: Path) -> None:
    config = Config.from_dict(world.config.to_dict() | {"mask_outside_object": True})
    model = ProtoAnomalyNCD(config).fit(world.images, object_masks=masks)
    found = model.discovery_
    assert found.evidence is not None
    silenced = 0
    for image in found.images:
        body, amap = found.evidence.load_object(image.name), found.evidence.load_map(image.name)
        if body is not None:
            np.testing.assert_array_equal(amap, mask_map(amap, body))
            silenced += int((mask_map(amap, body) == amap.min()).sum())
    assert silenced > len(found.images)
    model.save_pretrained(tmp_path / "model")
    loaded = ProtoAnomalyNCD.from_pretrained(tmp_path / "model")
    assert results(loaded.predict(world.images, object_masks=masks)) == results(found)


def test_a_mask_over_everything_changes_nothing(world: World, tmp_path: Path) -> None:
    for sample in load_dataset(world.images).unlabelled:
        path = (tmp_path / "masks" / sample.name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.ones((5, 5), np.bool_))
    plain = ProtoAnomalyNCD(world.config).fit(world.images).discovery_
    masked = ProtoAnomalyNCD(world.config).fit(world.images, object_masks=tmp_path / "masks")
    assert results(masked.discovery_) == results(plain)
    assert masked.discovery_.notes == ()


def test_grounded_sam_interrupted_and_saved(
    world: World, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    """Through the real loading code; a fit that was stopped ends the same; predict = fit."""
    folder = shutil.copytree(checkpoints.detector, tmp_path / "dino")
    localiser = {
        "name": "grounded_sam",
        "prompt": "metal washer",
        "box_detector": f"local-dir:{folder}",
        "segmenter": f"local-dir:{checkpoints.sam}",
        "score_threshold": 0.3,
        "max_objects": 2,
        "min_area": 0.0,
    }
    config = Config.from_dict(world.config.to_dict() | {"localiser": localiser, "seed": 1})

    class StoppedError(KeyboardInterrupt):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("find objects", 5):
            raise StoppedError

    with pytest.raises(StoppedError):
        ProtoAnomalyNCD(config).fit(world.images, work_dir=tmp_path / "work", on_progress=stop)
    calls: list[int] = []
    model = ProtoAnomalyNCD(config).fit(
        world.images,
        work_dir=tmp_path / "work",
        on_progress=lambda stage, done, _: calls.append(done) if stage == "find objects" else None,
    )
    assert calls[0] == 6
    found = model.discovery_
    assert found.evidence is not None
    assert any(found.evidence.load_object(i.name) is not None for i in found.images)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigurationError, match=r"localiser\.box_detector: expected local-dir:"):
        ProtoAnomalyNCD.from_pretrained(tmp_path / "model")  # a model keeps no places
    networks = {name: localiser[name] for name in ("box_detector", "segmenter")}
    loaded = ProtoAnomalyNCD.from_pretrained(tmp_path / "model", localiser=networks)
    samples = load_dataset(world.images).unlabelled
    assert results(loaded.predict(samples)) == results(found)
    alone = results(loaded.predict(samples[3:4]))
    assert alone == {name: results(found)[name] for name in alone}

    (folder / "config.json").unlink()  # on another machine the model is not there
    moved = ProtoAnomalyNCD.from_pretrained(tmp_path / "model", localiser=networks)
    with pytest.raises(ImportError, match="fetch all files of IDEA-Research/grounding-dino-tiny"):
        moved.predict(samples[:1])


def test_two_localisers_at_once_are_refused(world: World, masks: Path) -> None:
    config = Config.from_dict(
        world.config.to_dict() | {"localiser": {"name": "sam3", "prompt": "washer"}}
    )
    with pytest.raises(ConfigurationError, match="leave out one of them"):
        ProtoAnomalyNCD(config).fit(world.images, object_masks=masks)
