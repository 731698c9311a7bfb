"""The contract of localisers, on ours; networks are tiny and read by the real loading code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import Sample
from protoanomalyncd.localisation import (
    LOCALISERS,
    FolderMasks,
    ObjectLocaliser,
    create_localiser,
)
from protoanomalyncd.testing import LocaliserContract
from tests.tiny_localisers import Checkpoints, make_checkpoints


@cache
def networks() -> tuple[Checkpoints, TemporaryDirectory[str]]:
    """Made once; the folder lives as long."""
    keeper = TemporaryDirectory()
    return make_checkpoints(Path(keeper.name)), keeper


class TestWholeImage(LocaliserContract):
    finds = own_size = False

    def make(self) -> ObjectLocaliser:
        return create_localiser("none")


class TestFolderMasks(LocaliserContract):
    own_size = False
    folder: Path

    def prepare(self, folder: Path, samples: Sequence[Sample]) -> None:
        type(self).folder = folder / "masks"
        rng = np.random.default_rng(0)
        for sample in samples:
            path = (self.folder / sample.name).with_suffix(".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rng.random((20, 30)))

    def make(self) -> ObjectLocaliser:
        return FolderMasks(self.folder)

    def restored(self, record: Mapping[str, Any]) -> ObjectLocaliser:
        return LOCALISERS.restore(record, folder=self.folder)


class TestGroundedSAM(LocaliserContract):
    segmenter = "sam"

    def make(self) -> ObjectLocaliser:
        found, _ = networks()
        options = {
            "prompt": "washer. metal gear",
            "box_detector": f"local-dir:{found.detector}",
            "segmenter": f"local-dir:{getattr(found, self.segmenter)}",
            "min_area": 0.0,
        }
        return create_localiser("grounded_sam", options)


class TestGroundedSAM2(TestGroundedSAM):
    segmenter = "sam2"


class TestSAM3(LocaliserContract):
    def make(self) -> ObjectLocaliser:
        options = {
            "prompt": "washer. gear",
            "segmenter": f"local-dir:{networks()[0].sam3}",
            "score_threshold": 0.1,
            "min_area": 0.0,
        }
        return create_localiser("sam3", options)


SUITES = (TestWholeImage, TestFolderMasks, TestGroundedSAM, TestGroundedSAM2, TestSAM3)


def test_every_registered_localiser_is_under_contract() -> None:
    assert {suite().case().localiser.name for suite in SUITES} == set(LOCALISERS.names())


def test_unknown_names_and_arguments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expected one of folder, grounded_sam, none"):
        create_localiser("yolo")
    with pytest.raises(ConfigurationError, match="none has no option 'depth'; it has no options"):
        create_localiser("none", {"depth": 3})
    with pytest.raises(
        ConfigurationError, match=r"localiser.box_detector: expected local-dir:FOLDER"
    ):
        create_localiser("grounded_sam", prompt="washer", segmenter="x", box_detector=None)
