"""The networks through the real loading code: boxes, thresholds, prompts, and what is missing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from protoanomalyncd.core.errors import ConfigurationError, MissingDependencyError
from protoanomalyncd.core.records import Sample
from protoanomalyncd.localisation import SAM3, GroundedSAM, Located, create_localiser
from protoanomalyncd.localisation.base import ObjectLocaliser
from tests.tiny_localisers import Checkpoints


@pytest.fixture
def sample(tmp_path: Path, rng: np.random.Generator) -> Sample:
    """An image that is wider than high."""
    path = tmp_path / "image.png"
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return Sample(path, "image.png")


def _grounded(checkpoints: Checkpoints, **changes: Any) -> GroundedSAM:
    values: dict[str, Any] = {
        "prompt": "washer",
        "box_detector": f"local-dir:{checkpoints.detector}",
        "segmenter": f"local-dir:{checkpoints.sam}",
        "score_threshold": 0.0,
        "min_area": 0.0,
        "margin": 0.0,
        "fill_holes": False,
    }
    return GroundedSAM(**{**values, **changes})


def _sam3(checkpoints: Checkpoints, **changes: Any) -> SAM3:
    values: dict[str, Any] = {
        "prompt": "washer",
        "segmenter": f"local-dir:{checkpoints.sam3}",
        "score_threshold": 0.0,
        "min_area": 0.0,
        "margin": 0.0,
        "fill_holes": False,
        "max_box_area": 1.0,
    }
    return SAM3(**{**values, **changes})


def _locate(localiser: ObjectLocaliser, sample: Sample) -> Located:
    ((_, located),) = localiser.locate([sample])
    assert isinstance(located, Located)
    return located


def _image(sample: Sample) -> np.ndarray:
    return np.array(Image.open(sample.path))


@pytest.mark.parametrize("build", [_grounded, _sam3])
def test_no_object_is_a_warning_and_the_whole_image(
    build: Any, checkpoints: Checkpoints, sample: Sample
) -> None:
    located = _locate(build(checkpoints, score_threshold=1.0, prompt="washer. gear"), sample)
    assert located.mask is None
    assert located.warning == (
        "no object found for 'washer' or 'gear' with a score of at least 1; the whole image is used"
    )


@pytest.mark.parametrize("build", [_grounded, _sam3])
def test_an_object_that_is_too_small_is_none(
    build: Any, checkpoints: Checkpoints, sample: Sample
) -> None:
    located = _locate(build(checkpoints, min_area=0.9999, max_objects=1), sample)
    assert located.mask is None
    assert "covers less than 99.99% of the image (localiser.min_area)" in located.warning


def test_the_masks_of_several_boxes_are_united(checkpoints: Checkpoints, sample: Sample) -> None:
    localiser = _grounded(checkpoints)
    located = _locate(localiser, sample)
    image = _image(sample)
    boxes = localiser._boxes(image)
    assert len(boxes) > 1
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 60).all()
    assert (boxes[:, 3] <= 40).all()
    masks = localiser._segment(image, boxes)
    assert masks.shape == (len(boxes), 40, 60)
    assert located.mask is not None
    np.testing.assert_array_equal(located.mask, masks.any(axis=0))
    alone = localiser._segment(image, boxes[:1])[0]
    np.testing.assert_array_equal(masks[0], alone)


def test_the_surest_boxes_are_kept(checkpoints: Checkpoints, sample: Sample) -> None:
    image = _image(sample)
    every = _grounded(checkpoints)
    _locate(every, sample)
    two = _grounded(checkpoints, max_objects=2)
    _locate(two, sample)
    np.testing.assert_array_equal(two._boxes(image), every._boxes(image)[:2])
    between = _grounded(checkpoints, score_threshold=0.99)
    _locate(between, sample)
    fewer = between._boxes(image)
    assert 0 < len(fewer) < len(every._boxes(image))
    np.testing.assert_array_equal(fewer, every._boxes(image)[: len(fewer)])


def test_a_box_around_everything_is_the_background_unless_alone(
    checkpoints: Checkpoints, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = _image(sample)
    for boxes, expected in (
        ([[0, 0, 60, 40], [5, 5, 20, 30]], [[5, 5, 20, 30]]),
        ([[-4, -4, 70, 50]], [[0, 0, 60, 40]]),
    ):
        localiser = _grounded(checkpoints)
        _locate(localiser, sample)
        found = {"boxes": torch.tensor(boxes), "scores": torch.tensor([0.9, 0.8][: len(boxes)])}
        monkeypatch.setattr(
            localiser._loaded["box_detector"][1],
            "post_process_grounded_object_detection",
            lambda *_, found=found, **__: [found],
        )
        assert localiser._boxes(image).tolist() == expected


def test_every_name_of_a_prompt_reaches_the_detector(
    checkpoints: Checkpoints, sample: Sample
) -> None:
    localiser = _grounded(checkpoints, prompt="Washer.  metal   GEAR")
    assert localiser.arguments()["prompt"] == "washer. metal gear"
    _locate(localiser, sample)
    processor, names = localiser._loaded["box_detector"][1], list(localiser._names)
    inputs = processor(images=_image(sample), text=[names])
    # [CLS] washer . metal gear . [SEP]: the separators that Grounding DINO looks for
    assert np.asarray(inputs["input_ids"]).tolist() == [[101, 200, 1012, 202, 201, 1012, 102]]
    other = _grounded(checkpoints, prompt="object")
    _locate(other, sample)
    assert not np.array_equal(other._boxes(_image(sample)), localiser._boxes(_image(sample)))


def test_sam3_unites_what_each_name_finds(checkpoints: Checkpoints, sample: Sample) -> None:
    both = _locate(_sam3(checkpoints, prompt="washer. gear"), sample).mask
    localiser = _sam3(checkpoints)
    localiser._load()
    masks, scores = localiser._ask(_image(sample), "washer")
    assert masks.shape == (5, 40, 60)
    assert scores.shape == (5,)
    one = masks.any(axis=0)
    two = localiser._ask(_image(sample), "gear")[0].any(axis=0)
    assert both is None or np.array_equal(both, one | two)
    best = _sam3(checkpoints, max_objects=1)
    best._load()
    np.testing.assert_array_equal(best._masks(_image(sample))[0], masks[scores.argmax()])


def test_nothing_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    localiser = create_localiser("sam3", prompt="washer", segmenter=f"local-dir:{tmp_path / 'no'}")
    assert list(localiser.locate([])) == []


# What is missing


def _fails(localiser: ObjectLocaliser, sample: Sample, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        localiser.locate([sample])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "processor_config.json"])
def test_a_missing_file_says_what_to_fetch_and_where_to_put_it(
    checkpoints: Checkpoints, sample: Sample, tmp_path: Path, file: str
) -> None:
    folder = shutil.copytree(checkpoints.detector, tmp_path / "models" / "dino")
    (folder / file).unlink()
    localiser = _grounded(checkpoints, box_detector=f"local-dir:{folder}")
    message = _fails(localiser, sample, MissingDependencyError)
    assert message.startswith(f"localiser.box_detector: expected a model's files in {folder}, but ")
    assert file in message
    assert "fetch all files of IDEA-Research/grounding-dino-tiny" in message
    assert message.endswith("and put them there")


def test_a_missing_folder_names_the_segmenters(checkpoints: Checkpoints, sample: Sample) -> None:
    message = _fails(
        _grounded(checkpoints, segmenter="local-dir:no/such"), sample, MissingDependencyError
    )
    assert message.startswith("localiser.segmenter: expected a model's files in ")
    assert "facebook/sam-vit-base or facebook/sam2.1-hiera-tiny" in message
    message = _fails(_sam3(checkpoints, segmenter="local-dir:no"), sample, MissingDependencyError)
    assert "facebook/sam3" in message


def test_a_model_of_another_kind_is_refused(checkpoints: Checkpoints, sample: Sample) -> None:
    swapped = _grounded(checkpoints, box_detector=f"local-dir:{checkpoints.sam2}")
    assert "a 'sam2'" in _fails(swapped, sample, ConfigurationError)
    swapped = _grounded(checkpoints, segmenter=f"local-dir:{checkpoints.detector}")
    assert "a 'grounding-dino'" in _fails(swapped, sample, ConfigurationError)
    other = _sam3(checkpoints, segmenter=f"local-dir:{checkpoints.sam}")
    assert "such as facebook/sam3" in _fails(other, sample, ConfigurationError)


def test_damaged_files_are_one_line(
    checkpoints: Checkpoints, sample: Sample, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints.sam, tmp_path / "sam")
    (folder / "model.safetensors").write_bytes(b"cut off")
    message = _fails(
        _grounded(checkpoints, segmenter=f"local-dir:{folder}"), sample, ConfigurationError
    )
    assert f"expected the files of one whole model in {folder}" in message
    (folder / "config.json").write_text("{")
    message = _fails(
        _grounded(checkpoints, segmenter=f"local-dir:{folder}"), sample, ConfigurationError
    )
    assert "expected a config.json with a model_type" in message


def test_without_internet_a_hub_model_is_one_line(
    checkpoints: Checkpoints, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localiser = _grounded(checkpoints, box_detector="IDEA-Research/grounding-dino-no-such-model")
    message = _fails(localiser, sample, MissingDependencyError)
    assert "'IDEA-Research/grounding-dino-no-such-model' cannot be fetched" in message
    assert "use local-dir:FOLDER" in message


def test_without_transformers_the_command_is_named(
    checkpoints: Checkpoints, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = _fails(_sam3(checkpoints), sample, MissingDependencyError)
    assert message.endswith("pip install 'protoanomalyncd[localise]'")


def test_a_video_checkpoints_name_is_accepted(
    checkpoints: Checkpoints, sample: Sample, tmp_path: Path
) -> None:
    """The published SAM 2 files say ``sam2_video``."""
    folder = shutil.copytree(checkpoints.sam2, tmp_path / "sam2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    masks = []
    for source in (folder, checkpoints.sam2):
        localiser = _grounded(checkpoints, segmenter=f"local-dir:{source}", max_objects=2)
        localiser._load()
        masks.append(localiser._masks(_image(sample)))
    assert masks[0].shape == (2, 40, 60)
    assert 0 < masks[0].mean() < 1
    np.testing.assert_array_equal(*masks)
