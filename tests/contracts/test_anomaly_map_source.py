"""The contract of detectors, on ours and on one that another package might bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protoanomalyncd.anomaly_maps import (
    DETECTORS,
    AnomalyMapSource,
    FolderMaps,
    MutualScoring,
    PatchMemory,
    create,
)
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import Sample
from protoanomalyncd.testing import DetectorContract
from protoanomalyncd.testing.detector import BAD


class TestPatchMemory(DetectorContract):
    def make(self, backbone: Any) -> AnomalyMapSource:
        return PatchMemory(backbone, image_size=64, memory_size=300, seed=3)


class TestMutualScoring(DetectorContract):
    def make(self, backbone: Any) -> AnomalyMapSource:
        return MutualScoring(backbone, image_size=64, reference_images=5, seed=3)


class TestFolderMaps(DetectorContract):
    folder: Path

    def prepare(self, folder: Path, test: Sequence[Sample]) -> None:
        """Writes maps of several sizes and ruins one."""
        type(self).folder = folder / "maps"
        rng = np.random.default_rng(0)
        for number, sample in enumerate(test):
            path = (self.folder / sample.name).with_suffix(".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rng.random((10 + number, 12)))
        (self.folder / BAD).with_suffix(".npy").write_bytes(b"\x93NUMPY cut off")

    def make(self, backbone: Any) -> AnomalyMapSource:
        return FolderMaps(getattr(self, "folder", None))

    def restored(self, record: Mapping[str, Any]) -> AnomalyMapSource:
        return DETECTORS.restore(record, folder=self.folder)


SUITES = (TestPatchMemory, TestMutualScoring, TestFolderMaps)


def test_every_registered_source_is_under_contract() -> None:
    assert {suite().case().source.name for suite in SUITES} == set(DETECTORS.names())


class _Forgetful(FolderMaps):
    """Breaks the contract: no map is float32."""

    def score(self, samples: Sequence[Sample]) -> Any:
        for sample, amap in super().score(samples):
            yield sample, amap.astype(np.float64) if isinstance(amap, np.ndarray) else amap


class _Broken(TestFolderMaps):
    __test__ = False

    def make(self, backbone: Any) -> AnomalyMapSource:
        return _Forgetful(getattr(self, "folder", None))


def test_a_breach_is_found() -> None:
    with pytest.raises(AssertionError, match=r"expected: float32 \(h, w\)"):
        _Broken().test_maps_are_finite_float32_of_two_axes()
    with pytest.raises(AssertionError, match="expected: folder registered, or offered"):
        _Broken().test_it_is_known_by_its_name()


def test_unknown_names_and_arguments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expected one of auto, folder, .*'pca'"):
        create("pca")
    with pytest.raises(ConfigurationError, match="folder has no option 'depth'; its options are"):
        create("folder", {"depth": 3})
