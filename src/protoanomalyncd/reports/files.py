"""Whole files or none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from protoanomalyncd.errors import OutputError

__all__ = ["write_atomically"]


def write_atomically(path: Path, content: bytes) -> Path:
    """Write beside `path`, then rename, so that no half file ever has the final name.

    Raises:
        OutputError: the folder does not exist or cannot be written to.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; choose a writable folder") from error
    return path


def _umask() -> int:
    """The process's file mode mask; `mkstemp` ignores it and makes private files."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
