"""row_files.py: arrays on disk, row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protoanomalyncd.core.errors import ModelFormatError
from protoanomalyncd.storage import row_files
from protoanomalyncd.storage.row_files import RowFile, RowWriter, join_rows

ROWS = np.random.default_rng(0).integers(0, 256, (1234, 3, 2), dtype=np.uint8)


def write(path: Path, rows: np.ndarray = ROWS) -> RowFile:
    with RowWriter(path, rows.shape[1:], rows.dtype) as writer:
        for row in rows:
            writer.append(row)
    return RowFile(path)


def test_numpy_reads_what_was_written_row_by_row(tmp_path: Path) -> None:
    write(tmp_path / "rows.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), ROWS, strict=True)


def test_rows_come_one_by_one_or_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "RESIDENT_BYTES", 7)  # pages are given back at every row
    found = write(tmp_path / "rows.npy")
    assert (len(found), found.shape, found.dtype) == (1234, ROWS.shape, ROWS.dtype)
    np.testing.assert_array_equal(found[7], ROWS[7])
    np.testing.assert_array_equal(found[-1], ROWS[-1])
    np.testing.assert_array_equal(np.stack(list(found)), ROWS)
    np.testing.assert_array_equal(np.asarray(found), ROWS, strict=True)


def test_a_row_is_a_copy(tmp_path: Path) -> None:
    found = write(tmp_path / "rows.npy")
    found[0][:] = 0
    np.testing.assert_array_equal(found[0], ROWS[0])


def test_a_row_of_another_shape_is_refused(tmp_path: Path) -> None:
    with (
        RowWriter(tmp_path / "rows.npy", (3, 2), np.uint8) as writer,
        pytest.raises(ValueError, match="expected a row of shape"),
    ):
        writer.append(ROWS[0].T)


def test_joined_rows_follow_each_other(tmp_path: Path) -> None:
    both = join_rows(write(tmp_path / "rows.npy"), ROWS[:5])
    expected = np.concatenate([ROWS, ROWS[:5]])
    np.testing.assert_array_equal(np.asarray(both), expected, strict=True)
    for index in (0, 1233, 1234, 1238, -1):
        np.testing.assert_array_equal(both[index], expected[index])
    with pytest.raises(IndexError):
        both[1239]
    assert isinstance(join_rows(ROWS, ROWS), np.ndarray)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.npy").write_bytes(b"no array")
    with pytest.raises(ModelFormatError, match="expected an array file"):
        RowFile(tmp_path / "rows.npy")
