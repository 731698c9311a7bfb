"""files.py and map_store.py: a file is complete or not there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from protoanomalyncd.core.errors import ModelFormatError, OutputError
from protoanomalyncd.storage.files import (
    read_json,
    replace_atomically,
    write_json,
    write_text,
)
from protoanomalyncd.storage.map_store import MapStore
from protoanomalyncd.storage.tensors import read_tensors, write_tensors


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"^cannot write .*a\.txt: No space left on device$"):
        write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_json_is_read_back_and_has_no_nan(tmp_path: Path) -> None:
    values = {"ä": [1, 2.5, None], "b": {"c": True}}
    write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json") == values
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert read_json(tmp_path / "a.json") == values


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"[1]"])
def test_what_is_no_json_object_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"a\.json: expected a JSON") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_tensors_are_read_back(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    tensors = {"view": base.T, "same": base, "bf": base.bfloat16(), "empty": torch.zeros(0, 2)}
    write_tensors(tmp_path / "a.safetensors", tensors)
    found = read_tensors(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(found[name], value)
        assert found[name].dtype == value.dtype
    write_tensors(tmp_path / "none.safetensors", {})
    assert read_tensors(tmp_path / "none.safetensors") == {}


@pytest.mark.parametrize("content", [None, b"", b"12345678abc", b"\xff" * 100])
def test_what_is_no_safetensors_file_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFormatError, match="expected a safetensors file") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


def test_maps_are_kept_by_name(tmp_path: Path) -> None:
    store = MapStore(tmp_path / "maps")
    assert "test/a.png" not in store
    amap = np.random.default_rng(0).random((5, 7))
    store.put("test/a.png", amap.astype(np.float32))
    store.put("test/ä b/../a.png", np.zeros((2, 2), np.float32))
    assert "test/a.png" in store
    assert "test/b.png" not in store
    np.testing.assert_array_equal(store.get("test/a.png"), amap.astype(np.float32), strict=True)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert "test/a.png" in MapStore(tmp_path / "maps")
