"""Raw maps on disk, and why an image has none."""

from pathlib import Path

import numpy as np

from protoanomalyncd.core.records import Skipped
from protoanomalyncd.storage.map_store import MapStore


def test_a_map_comes_back_as_it_was(tmp_path: Path) -> None:
    store = MapStore(tmp_path / "maps")
    amap = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    assert "a/1.png" not in store
    store.put("a/1.png", amap)
    store.put("b/1.png", amap * 2)
    np.testing.assert_array_equal(store.get("a/1.png"), amap)
    np.testing.assert_array_equal(store.get("b/1.png"), amap * 2)


def test_a_skipped_image_is_remembered_with_its_reason(tmp_path: Path) -> None:
    store = MapStore(tmp_path / "maps")
    assert store.skipped("a/1.png") is None
    store.put_skipped(Skipped("a/1.png", "it is empty"))
    assert store.skipped("a/1.png") == Skipped("a/1.png", "it is empty")
    assert "a/1.png" not in store
