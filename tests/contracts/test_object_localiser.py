"""What holds for every registered localiser.

A new localiser adds a function to `BUILDERS` that writes its input and returns what is offered to
it. Networks are tiny, have random weights, and are read by the real loading code.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import MaskArray, Sample, Skipped
from protoanomalyncd.localisation import (
    Located,
    ObjectLocaliser,
    create_localiser,
    registered_localisers,
)
from tests.tiny_localisers import Checkpoints

SIZES = {"a.png": (40, 60), "line 2/b.png": (64, 48), "line 2/c.png": (33, 33)}
BAD = "line 2/damaged.png"


def _none(folder: Path, checkpoints: Checkpoints) -> dict[str, Any]:
    return {}


def _folder(folder: Path, checkpoints: Checkpoints) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for name in (*SIZES, BAD):
        path = (folder / "masks" / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.random((20, 30)))
    return {"folder": folder / "masks"}


def _grounded(segmenter: str) -> Callable[[Path, Checkpoints], dict[str, Any]]:
    def offered(folder: Path, checkpoints: Checkpoints) -> dict[str, Any]:
        return {
            "prompt": "washer. metal gear",
            "box_detector": f"local-dir:{checkpoints.detector}",
            "segmenter": f"local-dir:{getattr(checkpoints, segmenter)}",
            "min_area": 0.0,
        }

    return offered


def _sam3(folder: Path, checkpoints: Checkpoints) -> dict[str, Any]:
    return {
        "prompt": "washer. gear",
        "segmenter": f"local-dir:{checkpoints.sam3}",
        "score_threshold": 0.1,
        "min_area": 0.0,
    }


BUILDERS: Mapping[str, tuple[str, Callable[[Path, Checkpoints], dict[str, Any]]]] = {
    "none": ("none", _none),
    "folder": ("folder", _folder),
    "grounded_sam with SAM": ("grounded_sam", _grounded("sam")),
    "grounded_sam with SAM 2": ("grounded_sam", _grounded("sam2")),
    "sam3": ("sam3", _sam3),
}

Case = tuple[str, dict[str, Any], ObjectLocaliser, list[Sample]]


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def case(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    checkpoints: Checkpoints,
) -> Case:
    """Name, what is offered, the localiser, and samples of several sizes, one of them damaged."""
    folder = tmp_path_factory.mktemp("localiser")
    samples = []
    rng = np.random.default_rng(1)
    for name, size in SIZES.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        samples.append(Sample(path, name))
    (folder / "images" / BAD).write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    samples.append(Sample(folder / "images" / BAD, BAD))
    name, build = BUILDERS[request.param]
    offered = build(folder, checkpoints)
    return name, offered, create_localiser(name, **offered), samples


def _found(
    localiser: ObjectLocaliser, samples: Sequence[Sample]
) -> dict[str, tuple[MaskArray | None, str]]:
    located = {s.name: r for s, r in localiser.locate(samples) if isinstance(r, Located)}
    return {name: (result.mask, result.warning) for name, result in located.items()}


def _assert_identical(
    first: Mapping[str, tuple[MaskArray | None, str]],
    second: Mapping[str, tuple[MaskArray | None, str]],
) -> None:
    assert first.keys() == second.keys()
    for name, (mask, warning) in first.items():
        other, other_warning = second[name]
        assert warning == other_warning
        assert (mask is None) == (other is None)
        if mask is not None and other is not None:
            np.testing.assert_array_equal(mask, other, err_msg=name, strict=True)


def test_every_registered_localiser_is_under_contract() -> None:
    assert {name for name, _ in BUILDERS.values()} == set(registered_localisers())


def test_it_has_the_methods_and_its_name(case: Case) -> None:
    name, _, localiser, _ = case
    assert isinstance(localiser, ObjectLocaliser)
    assert localiser.name == name


def test_masks_are_bool_of_two_axes_and_never_empty_or_full(case: Case) -> None:
    name, _, localiser, samples = case
    found = _found(localiser, samples[:3])
    assert len(found) == 3
    masks = [mask for mask, _ in found.values() if mask is not None]
    assert bool(masks) == (name != "none")
    for mask in masks:
        assert mask.dtype == np.bool_
        assert mask.ndim == 2
        assert 0 < mask.mean() < 1


def test_a_network_answers_at_the_images_own_size(case: Case) -> None:
    name, _, localiser, samples = case
    if name in ("none", "folder"):
        return
    for image, (mask, _) in _found(localiser, samples[:3]).items():
        assert mask is None or mask.shape == SIZES[image]


def test_a_bad_image_does_not_stop_the_others(case: Case) -> None:
    _, _, localiser, samples = case
    results = list(localiser.locate(samples))
    assert [sample for sample, _ in results] == samples
    for sample, result in results:
        if isinstance(result, Skipped):
            assert sample.name == BAD
            assert result.reason
            assert "\n" not in result.reason


def test_one_image_at_a_time_equals_all_at_once(case: Case) -> None:
    _, _, localiser, samples = case
    if localiser.precomputed:  # files are matched to all images of a call
        return
    alone: dict[str, tuple[MaskArray | None, str]] = {}
    for sample in samples:
        alone |= _found(localiser, [sample])
    _assert_identical(alone, _found(localiser, samples))


def test_the_order_of_the_images_does_not_matter(case: Case) -> None:
    _, _, localiser, samples = case
    _assert_identical(_found(localiser, samples[::-1]), _found(localiser, samples))


def test_saved_and_built_again_gives_the_same_masks(case: Case) -> None:
    name, offered, localiser, samples = case
    arguments = json.loads(json.dumps(localiser.arguments()))
    call = {key: value for key, value in offered.items() if key == "folder"}
    again = create_localiser(name, arguments, **call)
    assert again.arguments() == localiser.arguments()
    _assert_identical(_found(again, samples), _found(localiser, samples))


def test_arguments_hold_no_device_and_no_folder_of_a_call(case: Case) -> None:
    _, _, localiser, _ = case
    assert not {"device", "folder"} & set(localiser.arguments())


def test_locating_is_streamed(case: Case) -> None:
    *_, localiser, samples = case
    results = localiser.locate(samples)
    first = list(itertools.islice(results, 2))
    assert [sample for sample, _ in first] == samples[:2]
    del results  # a caller that stops early leaves no thread and no error behind


def test_no_image_gives_no_mask(case: Case) -> None:
    *_, localiser, _ = case
    if not localiser.precomputed:
        assert list(localiser.locate([])) == []


def test_unknown_names_and_arguments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expected one of folder, grounded_sam, none"):
        create_localiser("yolo")
    with pytest.raises(ConfigurationError, match="none takes , got depth"):
        create_localiser("none", {"depth": 3})
    with pytest.raises(
        ConfigurationError, match=r"localiser.box_detector: expected local-dir:FOLDER"
    ):
        create_localiser("grounded_sam", prompt="washer", segmenter="x", box_detector=None)
