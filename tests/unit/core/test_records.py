"""Records of records.py: what they refuse, and how names and ranges behave."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from protoanomalyncd.core import records
from protoanomalyncd.core.records import (
    OUTLIER,
    Discovery,
    ImageResult,
    MapRange,
    Region,
    RegionResult,
    Sample,
    Skipped,
)


def region(image: str, index: int = 0) -> Region:
    return Region(image, index, (1, 2, 3, 4), (0, 0, 8, 8), area=0.1, score=0.9)


def discovery() -> Discovery:
    regions = (("a/0.png", 0, 1), ("a/0.png", 1, OUTLIER), ("b/0.png", 0, 2))
    return Discovery(
        class_names=("normal", "novel 1", "novel 2"),
        images=(),
        regions=tuple(
            RegionResult(region(image, index), class_id, confidence=0.8, outlier_score=0.1)
            for image, index, class_id in regions
        ),
    )


class TestMapRange:
    @pytest.mark.parametrize(
        ("low", "high"),
        [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.nan), (0.0, np.inf), (-np.inf, 0.0)],
    )
    def test_refuses_what_is_no_range(self, low: float, high: float) -> None:
        with pytest.raises(ValueError, match=r"^expected finite low < high, got .*$"):
            MapRange(low, high)

    def test_low_becomes_0_and_high_becomes_1(self) -> None:
        scaled = MapRange(-2.0, 6.0).normalise(np.array([-2, 0, 2, 6], np.float32))
        np.testing.assert_allclose(scaled, [0.0, 0.25, 0.5, 1.0])

    def test_clips_outside(self) -> None:
        scaled = MapRange(0.0, 1.0).normalise(np.array([-5, 7], np.float32))
        np.testing.assert_array_equal(scaled, [0.0, 1.0])

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int32])
    def test_keeps_the_shape_and_gives_float32(self, dtype: type) -> None:
        scores = np.arange(6).reshape(1, 2, 3).astype(dtype)
        scaled = MapRange(0.0, 5.0).normalise(scores)
        assert scaled.shape == (1, 2, 3)
        assert scaled.dtype == np.float32

    def test_leaves_its_input_as_it_was(self) -> None:
        scores = np.array([0.0, 10.0], np.float32)
        MapRange(0.0, 5.0).normalise(scores)
        np.testing.assert_array_equal(scores, [0.0, 10.0])

    def test_the_result_does_not_depend_on_the_other_maps(self, rng: np.random.Generator) -> None:
        maps = rng.normal(size=(4, 8, 8)).astype(np.float32)
        fitted = MapRange(-1.0, 2.0)
        together = fitted.normalise(maps)
        for one, scaled in zip(maps, together, strict=True):
            np.testing.assert_array_equal(fitted.normalise(one), scaled)


class TestDiscovery:
    def test_names_of_classes(self) -> None:
        found = discovery()
        assert [found.class_name(k) for k in (0, 1, 2)] == ["normal", "novel 1", "novel 2"]
        assert found.class_name(OUTLIER) == "outlier"

    def test_unknown_class_is_an_error(self) -> None:
        with pytest.raises(IndexError):
            discovery().class_name(3)

    def test_regions_of_an_image_in_order(self) -> None:
        assert [r.region.index for r in discovery().regions_of("a/0.png")] == [0, 1]
        assert [r.class_id for r in discovery().regions_of("b/0.png")] == [2]
        assert discovery().regions_of("c/0.png") == []


@pytest.mark.parametrize(
    "record",
    [
        Sample(Path("a.png"), "a.png"),
        Skipped("a.png", "it is empty"),
        MapRange(0.0, 1.0),
        region("a.png"),
        RegionResult(region("a.png"), 0, 0.5, 0.1),
        ImageResult("a.png", Path("a.png"), 0, 0.5, 0.1, 0.9, 1),
        discovery(),
    ],
    ids=lambda record: type(record).__name__,
)
def test_records_are_frozen(record: object) -> None:
    name = dataclasses.fields(record)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, None)


def test_everything_public_is_exported() -> None:
    public = {
        name
        for name, value in vars(records).items()
        if getattr(value, "__module__", None) == records.__name__
        or name in {"OUTLIER", "Box", "FloatArray", "ImageArray", "MaskArray", "Progress"}
    }
    assert set(records.__all__) == public
