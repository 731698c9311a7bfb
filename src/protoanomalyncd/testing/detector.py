"""What holds for every source of anomaly maps."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from protoanomalyncd.anomaly_maps import DETECTORS, AnomalyMapSource, FitReport
from protoanomalyncd.core.errors import ModelFormatError
from protoanomalyncd.core.records import FloatArray, Sample, Skipped
from protoanomalyncd.datasets.generated import render
from protoanomalyncd.testing.tiny import TinyBackbone, ensure, refused

__all__ = ["BAD", "DetectorContract"]

BAD = "test/scratch/leather_101.png"
"""Name of the image that cannot be scored."""
_SIDE = 96


@dataclass(frozen=True)
class _Case:
    """A fitted source and its images; the folder lives as long."""

    folder: TemporaryDirectory[str]
    source: AnomalyMapSource
    report: FitReport
    normal: Sequence[Sample]
    test: Sequence[Sample]


class DetectorContract:
    """Subclass it, and make your detector by `make`."""

    def make(self, backbone: Any) -> AnomalyMapSource:
        """A new detector, not fitted, which does well with images of 96 x 96 px.

        Args:
            backbone: a `TinyBackbone`, for detectors that use one.
        """
        raise NotImplementedError

    def prepare(self, folder: Path, test: Sequence[Sample]) -> None:
        """Write what the detector reads, into `folder`, and spoil its input for the image `BAD`.

        As it is here the image itself becomes unreadable.
        """
        (folder / BAD).write_bytes(b"\x89PNG\r\n\x1a\n cut off")

    def restored(self, record: Mapping[str, Any]) -> AnomalyMapSource:
        """The detector of a saved model, as the program builds it."""
        return DETECTORS.restore(record, backbone=TinyBackbone(), device="cpu")

    def case(self) -> _Case:
        """The fitted detector that the tests share."""
        if type(self) not in _MADE:
            _MADE[type(self)] = _make(self)
        return _MADE[type(self)]

    def test_it_has_the_methods_and_its_name(self) -> None:
        source = self.case().source
        ensure(isinstance(source, AnomalyMapSource), "every member of AnomalyMapSource")
        ensure(source.learns_from in ("normal", "unlabelled"), "learns_from: normal or unlabelled")

    def test_it_is_known_by_its_name(self) -> None:
        source = self.case().source
        ensure(DETECTORS.get(source.name) is type(source), f"{source.name} registered, or offered")

    def test_maps_are_finite_float32_of_two_axes(self) -> None:
        case = self.case()
        maps = _maps(case.source, case.test)
        ensure(len(maps) == len(case.test) - 1, "a map of each image but the spoilt one")
        for scores in maps.values():
            ensure(scores.dtype == np.float32 and scores.ndim == 2, "float32 (h, w)")
            ensure(min(scores.shape) > 1 and bool(np.isfinite(scores).all()), "finite, not a line")
            ensure(float(scores.std()) > 0, "different values in a map")

    def test_a_bad_image_is_skipped_and_the_others_go_on(self) -> None:
        case = self.case()
        results = list(case.source.score(case.test))
        ensure(
            [sample for sample, _ in results] == list(case.test), "one result an image, in order"
        )
        skipped = [result for _, result in results if isinstance(result, Skipped)]
        ensure([s.name for s in skipped] == [BAD], f"Skipped for {BAD} alone")
        ensure(bool(skipped[0].reason) and "\n" not in skipped[0].reason, "a reason in one line")

    def test_one_image_at_a_time_equals_all_at_once_to_the_bit(self) -> None:
        case = self.case()
        alone: dict[str, FloatArray] = {}
        for sample in case.test:
            if sample.name != BAD:
                alone |= _maps(case.source, [sample])
        _ensure_identical(alone, _maps(case.source, case.test))

    def test_the_order_of_the_images_does_not_matter(self) -> None:
        case = self.case()
        _ensure_identical(_maps(case.source, case.test[::-1]), _maps(case.source, case.test))

    def test_the_order_and_names_of_the_fitted_images_do_not_matter(self) -> None:
        case = self.case()
        renamed = [Sample(s.path, f"other/{9 - i}.png") for i, s in enumerate(case.normal)]
        other = self.make(TinyBackbone())
        maxima = (case.report.normal_maxima, other.fit(renamed[::-1]).normal_maxima)
        ensure((maxima[0] is None) == (maxima[1] is None), "normal maxima always or never")
        if maxima[0] is not None and maxima[1] is not None:
            np.testing.assert_array_equal(np.sort(maxima[0]), np.sort(maxima[1]))
        _ensure_identical(_maps(other, case.test), _maps(case.source, case.test))

    def test_saved_and_loaded_gives_the_same_maps_to_the_bit(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        case = self.case()
        save_file(case.source.state(), tmp_path / "source.safetensors")
        loaded = self.restored(json.loads(json.dumps(DETECTORS.record(case.source))))
        loaded.load_state(load_file(tmp_path / "source.safetensors"))
        _ensure_identical(_maps(loaded, case.test), _maps(case.source, case.test))
        ensure(loaded.arguments() == case.source.arguments(), "the same arguments")

    def test_arguments_hold_no_path_and_no_device(self) -> None:
        case = self.case()
        arguments = case.source.arguments()
        ensure(not {"device", "folder", "backbone"} & set(arguments), "no device, folder, backbone")
        ensure(case.folder.name not in json.dumps(arguments), "no path of the images")

    def test_foreign_tensors_are_refused(self) -> None:
        other = self.make(TinyBackbone())
        refused(lambda: other.load_state({"weights": torch.zeros(3)}), ModelFormatError)

    def test_scoring_is_streamed(self) -> None:
        case = self.case()
        results = case.source.score(case.test)
        first = list(itertools.islice(results, 2))
        ensure([sample for sample, _ in first] == list(case.test[:2]), "results one by one")
        del results  # a caller that stops early leaves no thread and no error behind

    def test_progress_counts_up_to_its_total(self) -> None:
        calls: list[tuple[int, int]] = []
        source = self.make(TinyBackbone())
        source.fit(self.case().normal, lambda done, total: calls.append((done, total)))
        ensure(calls == sorted(calls), "rising numbers")
        ensure(not calls or calls[-1][0] == calls[-1][1], "the total at last")

    def test_no_image_gives_no_map(self) -> None:
        ensure(list(self.case().source.score([])) == [], "nothing for no image")


_MADE: dict[type, _Case] = {}


def _make(contract: DetectorContract) -> _Case:
    keeper = TemporaryDirectory(prefix="detector-contract-")
    folder = Path(keeper.name)
    normal = _render(folder / "train", None, range(6))
    test = _render(folder, None, range(50, 53)) + _render(folder, "scratch", range(100, 104))
    contract.prepare(folder, test)
    source = contract.make(TinyBackbone())
    return _Case(keeper, source, source.fit(normal), normal, test)


def _render(folder: Path, defect: str | None, seeds: Sequence[int]) -> list[Sample]:
    """Generated images of leather; label = the defect or "good"."""
    label = defect or "good"
    samples = []
    for seed in seeds:
        path = folder / "test" / label / f"leather_{seed:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render("leather", defect, seed, _SIDE)[0]).save(path)
        samples.append(Sample(path, path.relative_to(folder).as_posix(), label))
    return samples


def _maps(source: AnomalyMapSource, samples: Sequence[Sample]) -> dict[str, FloatArray]:
    return {s.name: m for s, m in source.score(samples) if not isinstance(m, Skipped)}


def _ensure_identical(first: Mapping[str, FloatArray], second: Mapping[str, FloatArray]) -> None:
    ensure(first.keys() == second.keys(), "maps of the same images")
    for name, scores in first.items():
        np.testing.assert_array_equal(scores, second[name], err_msg=name, strict=True)
