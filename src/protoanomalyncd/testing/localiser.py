"""What holds for everything that says where the object is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from protoanomalyncd.core.records import MaskArray, Sample, Skipped
from protoanomalyncd.localisation import LOCALISERS, Located, ObjectLocaliser
from protoanomalyncd.testing.tiny import ensure

__all__ = ["BAD", "SIZES", "LocaliserContract"]

SIZES = {"a.png": (40, 60), "line 2/b.png": (64, 48), "line 2/c.png": (33, 33)}
"""Height and width of the images [px]."""
BAD = "line 2/damaged.png"
"""Name of an image that cannot be read."""

_Found: TypeAlias = dict[str, tuple[MaskArray | None, str]]


@dataclass(frozen=True)
class _Case:
    """A localiser and its images; the folder lives as long."""

    folder: TemporaryDirectory[str]
    localiser: ObjectLocaliser
    samples: Sequence[Sample]


class LocaliserContract:
    """Subclass it, and make your localiser by `make`."""

    finds = True
    """Whether it finds an object in seeded noise."""
    own_size = True
    """Whether masks have the size of their image."""

    def make(self) -> ObjectLocaliser:
        """A new localiser."""
        raise NotImplementedError

    def prepare(self, folder: Path, samples: Sequence[Sample]) -> None:
        """Write what the localiser reads, into `folder`; here nothing."""

    def places(self, localiser: Any) -> dict[str, Any]:
        """Options that belong to a machine, which no model keeps and a loaded one is given."""
        return {name: getattr(localiser, name) for name in getattr(localiser, "networks", ())}

    def restored(self, record: Mapping[str, Any]) -> ObjectLocaliser:
        """The localiser of a saved model, as the program builds it."""
        return LOCALISERS.restore(record, device="cpu")

    def case(self) -> _Case:
        """The localiser that the tests share."""
        if type(self) not in _MADE:
            _MADE[type(self)] = _make(self)
        return _MADE[type(self)]

    def test_it_has_the_methods_and_its_name(self) -> None:
        localiser = self.case().localiser
        ensure(isinstance(localiser, ObjectLocaliser), "every member of ObjectLocaliser")

    def test_it_is_known_by_its_name(self) -> None:
        localiser = self.case().localiser
        known = LOCALISERS.get(localiser.name)
        ensure(known is type(localiser), f"{localiser.name} registered, or offered")

    def test_masks_are_bool_of_two_axes_and_never_empty_or_full(self) -> None:
        case = self.case()
        found = _found(case.localiser, case.samples[:3])
        ensure(len(found) == 3, "a result for each image")
        masks = [mask for mask, _ in found.values() if mask is not None]
        ensure(bool(masks) == self.finds, f"finds = {self.finds}")
        for mask in masks:
            ensure(mask.dtype == np.bool_ and mask.ndim == 2, "bool (h, w)")
            ensure(0 < float(mask.mean()) < 1, "part of the image; None where it is all of it")

    def test_masks_have_the_size_that_is_said(self) -> None:
        case = self.case()
        for name, (mask, _) in _found(case.localiser, case.samples[:3]).items():
            fits = mask is None or not self.own_size or mask.shape == SIZES[name]
            ensure(fits, "a mask of the image's size")

    def test_a_bad_image_does_not_stop_the_others(self) -> None:
        case = self.case()
        results = list(case.localiser.locate(case.samples))
        ensure([sample for sample, _ in results] == list(case.samples), "one result an image")
        for sample, result in results:
            if isinstance(result, Skipped):
                ensure(sample.name == BAD, f"Skipped for {BAD} alone")
                ensure(bool(result.reason) and "\n" not in result.reason, "a reason in one line")

    def test_one_image_at_a_time_equals_all_at_once(self) -> None:
        case = self.case()
        if case.localiser.precomputed:  # files are matched to all images of a call
            return
        alone: _Found = {}
        for sample in case.samples:
            alone |= _found(case.localiser, [sample])
        _ensure_identical(alone, _found(case.localiser, case.samples))

    def test_the_order_of_the_images_does_not_matter(self) -> None:
        case = self.case()
        turned = _found(case.localiser, case.samples[::-1])
        _ensure_identical(turned, _found(case.localiser, case.samples))

    def test_saved_and_built_again_gives_the_same_masks(self) -> None:
        case = self.case()
        record = json.loads(json.dumps(LOCALISERS.record(case.localiser)))
        record["arguments"] |= self.places(case.localiser)
        again = self.restored(record)
        ensure(again.arguments() == case.localiser.arguments(), "the same arguments")
        _ensure_identical(_found(again, case.samples), _found(case.localiser, case.samples))

    def test_arguments_hold_no_device_and_no_folder_of_a_call(self) -> None:
        arguments = self.case().localiser.arguments()
        ensure(not {"device", "folder"} & set(arguments), "no device and no folder")

    def test_locating_is_streamed(self) -> None:
        case = self.case()
        results = case.localiser.locate(case.samples)
        first = list(itertools.islice(results, 2))
        ensure([sample for sample, _ in first] == list(case.samples[:2]), "results one by one")
        del results  # a caller that stops early leaves no thread and no error behind

    def test_no_image_gives_no_mask(self) -> None:
        localiser = self.case().localiser
        if not localiser.precomputed:
            ensure(list(localiser.locate([])) == [], "nothing for no image")


_MADE: dict[type, _Case] = {}


def _make(contract: LocaliserContract) -> _Case:
    keeper = TemporaryDirectory(prefix="localiser-contract-")
    folder, rng = Path(keeper.name), np.random.default_rng(1)
    samples = [Sample(folder / "images" / name, name) for name in (*SIZES, BAD)]
    for sample in samples:
        sample.path.parent.mkdir(parents=True, exist_ok=True)
        size = SIZES.get(sample.name)
        if size is None:
            sample.path.write_bytes(b"\x89PNG\r\n\x1a\n cut off")
        else:
            noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(noise).save(sample.path)
    contract.prepare(folder, samples)
    return _Case(keeper, contract.make(), samples)


def _found(localiser: ObjectLocaliser, samples: Sequence[Sample]) -> _Found:
    located = {s.name: r for s, r in localiser.locate(samples) if isinstance(r, Located)}
    return {name: (result.mask, result.warning) for name, result in located.items()}


def _ensure_identical(first: _Found, second: _Found) -> None:
    ensure(first.keys() == second.keys(), "results for the same images")
    for name, (mask, warning) in first.items():
        other, other_warning = second[name]
        ensure(warning == other_warning, f"the same warning for {name}")
        ensure((mask is None) == (other is None), f"a mask for {name} always or never")
        if mask is not None and other is not None:
            np.testing.assert_array_equal(mask, other, err_msg=name, strict=True)
