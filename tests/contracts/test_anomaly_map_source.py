"""What holds for every registered source of anomaly maps.

A new source adds a function to `BUILDERS` that writes its input to a folder and returns the source.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from protoanomalyncd.anomaly_maps import AnomalyMapSource, FitReport, create, registered
from protoanomalyncd.core.errors import ConfigurationError, ModelFormatError
from protoanomalyncd.core.records import FloatArray, Sample, Skipped
from tests.unit.anomaly_maps.fakes import TinyBackbone, render_samples

BAD = "test/scratch/leather_101.png"


def _patch_memory(folder: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Ruins one image; returns what the program offers."""
    (folder / BAD).write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    return {"backbone": TinyBackbone(), "image_size": 64, "memory_size": 300, "seed": 3}


def _mutual_scoring(folder: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Ruins one image; returns what the program offers."""
    (folder / BAD).write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    return {"backbone": TinyBackbone(), "image_size": 64, "reference_images": 5, "seed": 3}


def _folder(folder: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Writes maps of several sizes and ruins one."""
    rng = np.random.default_rng(0)
    for number, sample in enumerate(samples):
        path = (folder / "maps" / sample.name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.random((10 + number, 12)))
    (folder / "maps" / BAD).with_suffix(".npy").write_bytes(b"\x93NUMPY cut off")
    return {"folder": folder / "maps", "coarse_smoothing": 1.0}


BUILDERS: Mapping[str, Callable[[Path, Sequence[Sample]], dict[str, Any]]] = {
    "mutual_scoring": _mutual_scoring,
    "patch_memory": _patch_memory,
    "folder": _folder,
}

Case = tuple[str, dict[str, Any], AnomalyMapSource, FitReport, list[Sample], list[Sample]]


@pytest.fixture(scope="module", params=registered())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Name, what is offered, the fitted source, its report, normal and test samples."""
    folder = tmp_path_factory.mktemp("source")
    normal = render_samples(folder / "train", "leather", None, range(6))
    test = render_samples(folder, "leather", None, range(50, 53))
    test += render_samples(folder, "leather", "scratch", range(100, 104))
    offered = BUILDERS[request.param](folder, test)
    source = create(request.param, **offered)
    return request.param, offered, source, source.fit(normal), normal, test


def _maps(source: AnomalyMapSource, samples: Sequence[Sample]) -> dict[str, FloatArray]:
    return {s.name: m for s, m in source.score(samples) if not isinstance(m, Skipped)}


def _assert_identical(first: Mapping[str, FloatArray], second: Mapping[str, FloatArray]) -> None:
    assert first.keys() == second.keys()
    for name, scores in first.items():
        np.testing.assert_array_equal(scores, second[name], err_msg=name, strict=True)


def test_every_registered_source_is_under_contract() -> None:
    assert sorted(BUILDERS) == list(registered())


def test_it_has_the_methods_and_its_name(case: Case) -> None:
    name, _, source, *_ = case
    assert isinstance(source, AnomalyMapSource)
    assert source.name == name
    assert source.learns_from in ("normal", "unlabelled")


def test_maps_are_finite_float32_of_two_axes(case: Case) -> None:
    *_, source, _, _, test = case
    maps = _maps(source, test)
    assert len(maps) == len(test) - 1
    for scores in maps.values():
        assert scores.dtype == np.float32
        assert scores.ndim == 2
        assert min(scores.shape) > 1
        assert np.isfinite(scores).all()
        assert scores.std() > 0


def test_a_bad_image_is_skipped_and_the_others_go_on(case: Case) -> None:
    *_, source, _, _, test = case
    results = list(source.score(test))
    assert [sample for sample, _ in results] == test
    skipped = [result for _, result in results if isinstance(result, Skipped)]
    assert [s.name for s in skipped] == [BAD]
    assert skipped[0].reason
    assert "\n" not in skipped[0].reason


def test_one_image_at_a_time_equals_all_at_once_to_the_bit(case: Case) -> None:
    *_, source, _, _, test = case
    alone: dict[str, FloatArray] = {}
    for sample in test:
        if sample.name != BAD:
            alone |= _maps(source, [sample])
    _assert_identical(alone, _maps(source, test))


def test_the_order_of_the_images_does_not_matter(case: Case) -> None:
    *_, source, _, _, test = case
    _assert_identical(_maps(source, test[::-1]), _maps(source, test))


def test_the_order_and_names_of_the_normal_images_do_not_matter(case: Case) -> None:
    name, offered, source, report, normal, test = case
    renamed = [Sample(s.path, f"other/{9 - i}.png") for i, s in enumerate(normal)]
    other = create(name, **offered)
    again = other.fit(renamed[::-1])
    if report.normal_maxima is None:
        assert again.normal_maxima is None
    else:
        assert again.normal_maxima is not None
        np.testing.assert_array_equal(np.sort(again.normal_maxima), np.sort(report.normal_maxima))
    _assert_identical(_maps(other, test), _maps(source, test))


def test_saved_and_loaded_gives_the_same_maps_to_the_bit(case: Case, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    name, offered, source, _, _, test = case
    save_file(source.state(), tmp_path / "source.safetensors")
    arguments = json.loads(json.dumps(source.arguments()))
    offered = {key: value for key, value in offered.items() if key not in arguments}
    loaded = create(name, arguments, **offered)
    loaded.load_state(load_file(tmp_path / "source.safetensors"))
    _assert_identical(_maps(loaded, test), _maps(source, test))
    assert loaded.arguments() == source.arguments()


def test_arguments_hold_no_path_and_no_device(case: Case) -> None:
    _, offered, source, *_ = case
    text = json.dumps(source.arguments())
    assert str(offered.get("folder", "no such folder")) not in text
    assert "device" not in text


def test_foreign_tensors_are_refused(case: Case) -> None:
    name, offered, *_ = case
    with pytest.raises(ModelFormatError, match="expected"):
        create(name, **offered).load_state({"weights": torch.zeros(3)})


def test_scoring_is_streamed(case: Case) -> None:
    *_, source, _, _, test = case
    results = source.score(test)
    first = list(itertools.islice(results, 2))
    assert [sample for sample, _ in first] == test[:2]
    del results  # a caller that stops early leaves no thread and no error behind


def test_progress_counts_up_to_its_total(case: Case) -> None:
    name, offered, _, _, normal, _ = case
    calls: list[tuple[int, int]] = []
    create(name, **offered).fit(normal, lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert not calls or calls[-1][0] == calls[-1][1]


def test_no_image_gives_no_map(case: Case) -> None:
    *_, source, _, _, _ = case
    assert list(source.score([])) == []


def test_unknown_names_and_arguments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expected one of auto, folder, .*'pca'"):
        create("pca")
    with pytest.raises(
        ConfigurationError, match="folder takes folder, coarse_smoothing, got depth"
    ):
        create("folder", {"depth": 3})
    with pytest.raises(ConfigurationError, match=r"backbone: expected .* patch_memory needs it"):
        create("patch_memory", {"seed": 3}, folder="maps")
