"""Masks kept without loss; maps silenced outside of the object, against a naive loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from protoanomalyncd.core.errors import ModelFormatError
from protoanomalyncd.core.records import FloatArray, MaskArray, Sample, Skipped
from protoanomalyncd.localisation import (
    Located,
    MaskedMaps,
    ObjectStore,
    create_localiser,
    locate_all,
)
from protoanomalyncd.localisation.objects import mask_map
from protoanomalyncd.storage.map_store import MapStore


def naive(amap: FloatArray, mask: MaskArray) -> FloatArray:
    """Cell by cell: do the two half-open squares overlap?"""
    (h, w), (rows, columns) = amap.shape, mask.shape
    result = np.full_like(amap, amap.min())
    for y in range(h):
        for x in range(w):
            for v in range(rows):
                for u in range(columns):
                    apart_y = (v + 1) * h <= y * rows or v * h >= (y + 1) * rows
                    apart_x = (u + 1) * w <= x * columns or u * w >= (x + 1) * columns
                    if mask[v, u] and not apart_y and not apart_x:
                        result[y, x] = amap[y, x]
    return result


@pytest.mark.parametrize("map_shape", [(4, 4), (7, 5), (1, 9)])
@pytest.mark.parametrize("mask_shape", [(1, 1), (3, 2), (4, 4), (10, 13), (8, 8)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masking_equals_a_loop_over_all_cells(
    map_shape: tuple[int, int], mask_shape: tuple[int, int], dtype: type
) -> None:
    rng = np.random.default_rng(3)
    for density in (0.1, 0.5, 1.0):
        amap = rng.normal(size=map_shape).astype(dtype)
        mask = rng.random(mask_shape) < density
        expected = naive(amap, mask)
        np.testing.assert_array_equal(mask_map(amap, mask), expected.astype(np.float32))


def test_masks_come_back_to_the_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    store = ObjectStore(tmp_path / "objects")
    assert "a.png" not in store
    assert store.get("a.png") is None
    mask = rng.random((37, 51)) < 0.4
    store.put("a.png", Located(mask))
    store.put("b/a.png", Located(None, "no object found"))
    again = ObjectStore(tmp_path / "objects")
    kept = again.get("a.png")
    assert kept is not None
    np.testing.assert_array_equal(kept, mask, strict=True)
    assert "b/a.png" in again
    assert again.get("b/a.png") is None
    assert (again.warning("a.png"), again.warning("b/a.png")) == ("", "no object found")
    next((tmp_path / "objects").glob("*.png")).write_bytes(b"cut off")
    with pytest.raises(ModelFormatError, match="damaged"):
        again.get("a.png")


def test_masked_maps_are_the_maps_where_nothing_is_known(tmp_path: Path) -> None:
    maps, objects = MapStore(tmp_path / "maps"), ObjectStore(tmp_path / "objects")
    amap = np.arange(12, dtype=np.float32).reshape(3, 4)
    maps.put("a", amap)
    seen = MaskedMaps(tmp_path / "maps", objects)
    np.testing.assert_array_equal(seen.get("a"), amap)
    mask = np.zeros((3, 4), np.bool_)
    mask[1, 2] = True
    objects.put("a", Located(mask))
    expected = np.zeros((3, 4), np.float32)
    expected[1, 2] = amap[1, 2]
    np.testing.assert_array_equal(seen.get("a"), expected)
    np.testing.assert_array_equal(maps.get("a"), amap)
    assert "a" in seen
    assert "b" not in seen


class Counting:
    """Finds nothing in 'lost', cannot read 'bad', and counts its work."""

    name: ClassVar[str] = "counting"
    precomputed: ClassVar[bool] = False

    def __init__(self, stop_after: int = 99) -> None:
        self.seen: list[str] = []
        self._stop_after = stop_after

    def locate(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Located | Skipped]]:
        for sample in samples:
            if len(self.seen) == self._stop_after:
                raise KeyboardInterrupt
            self.seen.append(sample.name)
            if sample.name == "bad":
                yield sample, Skipped("bad", "damaged")
            elif sample.name == "lost":
                yield sample, Located(None, "no object found")
            else:
                yield sample, Located(np.eye(4, dtype=np.bool_))

    def arguments(self) -> dict[str, Any]:
        return {}


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    samples = [Sample(Path(name), name) for name in ("a", "lost", "bad", "b")]
    store, first = ObjectStore(tmp_path), Counting(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        locate_all(first, samples, store, lambda *_: None)
    second, calls = Counting(), list[tuple[str, int, int]]()
    notes = locate_all(second, samples, store, lambda *call: calls.append(call))
    assert second.seen == ["bad", "b"]
    assert notes == [Skipped("lost", "no object found")]
    assert calls[-1] == ("find objects", 4, 4)
    assert store.get("bad") is None
    mask = store.get("b")
    assert mask is not None
    assert mask.sum() == 4


def test_without_a_localiser_nothing_is_kept(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "objects")
    samples = [Sample(Path("a"), "a")]
    assert locate_all(create_localiser("none"), samples, store, lambda *_: None) == []
    assert not (tmp_path / "objects").exists()
