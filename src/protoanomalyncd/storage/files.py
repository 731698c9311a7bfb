"""Atomic reading and writing, without torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from protoanomalyncd.core.errors import ModelFormatError, OutputError, reason, shown

__all__ = [
    "own_file",
    "read_json",
    "replace_atomically",
    "sha256_of",
    "write_bytes",
    "write_json",
    "write_text",
]


def replace_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place.

    Raises:
        OutputError: the disk is full, or the folder cannot be written to.
    """
    # Short whatever the name is: a name of the greatest length has no room for additions.
    name = f".{zlib.crc32(os.fsencode(path.name)):08x}.{os.getpid()}.tmp"
    temporary = path.with_name(name)
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {shown(path)}: {reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):  # the folder is no folder, or cannot be written to
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        OutputError: the folder does not exist or cannot be written to.
    """
    replace_atomically(path, lambda temporary: _write_bytes(temporary, content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    r"""Write readable JSON atomically; not-a-number values are refused.

    A name that is no valid text (a byte of a file name that is no UTF-8) is written as the escape
    ``\udcXX``, which JSON readers take back.
    """
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def own_file(folder: Path, name: str) -> Path:
    """A file that lies in a folder itself; a link may not lead out of it.

    Args:
        folder: may come from somebody else.
        name: of the file, as the folder's own record has it.

    Raises:
        ModelFormatError: it is missing, is no regular file, or lies elsewhere.
    """
    path = folder / name
    if name != Path(name).name or name in ("", ".", "..") or not path.is_file():
        raise ModelFormatError(f"{folder}: expected {name[:80]} in it, which is missing")
    if path.resolve().parent != folder.resolve():
        raise ModelFormatError(
            f"{path}: expected a file of this folder, got a link to another; copy the file itself"
        )
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelFormatError: the file is missing or holds no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path}: expected a JSON file, got: {reason(error)}") from error
    if not isinstance(values, dict):
        raise ModelFormatError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
