"""Arrays on disk that are written and read row by row, with bounded memory.

A set of crops or tokens can be larger than the memory. The files are memory-mapped; what was
touched counts as memory of the process until it is given back, and that happens here every
`RESIDENT_BYTES`. The system keeps the pages in its cache as long as it has room, so reading them
again is cheap. Source: ours.
"""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from protoanomalyncd.core.errors import ModelFormatError

__all__ = ["RESIDENT_BYTES", "PageBudget", "RowFile", "RowWriter", "Rows", "join_rows"]

RESIDENT_BYTES = 32_000_000
"""Mapped bytes that one file may keep in the process's memory, about."""

Array: TypeAlias = npt.NDArray[Any]


class PageBudget:
    """Gives the pages of memory maps back once enough of them were touched.

    Args:
        maps: memory-mapped arrays; may be none.
    """

    def __init__(self, *maps: Array) -> None:
        self._maps = [m._mmap for m in maps if isinstance(m, np.memmap)]  # type: ignore[attr-defined]
        self._touched = 0

    def touch(self, n_bytes: int) -> None:
        """Note that this much was read or written, and give back if it is time."""
        self._touched += n_bytes
        if self._touched >= RESIDENT_BYTES:
            self.release()

    def release(self) -> None:
        """Take all pages out of the process's memory; nothing is lost, changes stay."""
        self._touched = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)


class _OneByOne(ABC):
    """What can be asked for a row can be gone through."""

    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, index: int) -> Array:
        """A copy of one row."""

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))


class RowFile(_OneByOne):
    """Rows of a ``.npy`` file; each is read when it is asked for.

    Args:
        path: the file.
        dtype: what values become when they are read; None = as they are stored.

    Raises:
        ModelFormatError: it is missing or damaged.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike | None = None) -> None:
        try:
            self._rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ModelFormatError(f"{path}: expected an array file, got {error}") from error
        self.shape: tuple[int, ...] = self._rows.shape
        self.dtype: np.dtype[Any] = self._rows.dtype if dtype is None else np.dtype(dtype)
        self._budget = PageBudget(self._rows)

    def __getitem__(self, index: int) -> Array:
        row: Array = np.array(self._rows[index], self.dtype)
        self._budget.touch(row.nbytes)
        return row

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._rows, self.dtype if dtype is None else dtype)


class _Joined(_OneByOne):
    """Rows of two sources, one after the other."""

    def __init__(self, first: Rows, second: Rows) -> None:
        self._first, self._second = first, second
        self.shape: tuple[int, ...] = (len(first) + len(second), *first.shape[1:])
        self.dtype: np.dtype[Any] = first.dtype

    def __getitem__(self, index: int) -> Array:
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected a row 0 to {len(self) - 1}, got {index}")
        position = index % len(self)
        inside = position < len(self._first)
        row = self._first[position] if inside else self._second[position - len(self._first)]
        return np.asarray(row)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.concatenate([np.asarray(self._first, dtype), np.asarray(self._second, dtype)])


Rows: TypeAlias = Array | RowFile | _Joined
"""n rows of the same shape, in memory or on disk; an integer index gives one row."""


def join_rows(first: Rows, second: Rows) -> Rows:
    """Both, one after the other, without reading what is on disk."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second])
    return _Joined(first, second)


class RowWriter:
    """Writes a ``.npy`` file row by row; its header tells the number of rows only at the end.

    Args:
        path: the file; until `close` it holds no rows for a reader.
        shape: of a row.
        dtype: of its values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._n_rows = 0
        self._file: BinaryIO = path.open("wb")
        self._header()

    def append(self, row: Array) -> None:
        """Write one row.

        Raises:
            ValueError: it is of another shape.
        """
        if row.shape != self._shape:
            raise ValueError(f"expected a row of shape {self._shape}, got {row.shape}")
        self._file.write(np.ascontiguousarray(row, self._dtype).tobytes())
        self._n_rows += 1

    def close(self) -> None:
        """Finish the file."""
        if not self._file.closed:
            self._file.seek(0)
            self._header()
            self._file.close()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _header(self) -> None:
        # numpy leaves room for a longer first axis, so the header's length does not change.
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._n_rows, *self._shape),
            },
        )
