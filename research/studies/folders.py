"""Folders of results that a long study can rely on."""

from __future__ import annotations

import os
from pathlib import Path

from protoanomalyncd.core.errors import OutputError, reason, shown

__all__ = ["ensure_folder"]


def ensure_folder(folder: Path) -> Path:
    """Create a folder and check that files can be made in it.

    Raises:
        OutputError: it cannot be created, is a file, or cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"output folder {shown(folder)}: expected a folder that can be written to, "
            f"got '{reason(error)}'; choose another --out"
        ) from error
    return folder
