"""A folder of results that appears under its name only when everything in it is there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protoanomalyncd.core.errors import DatasetError, OutputError
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.storage import names
from protoanomalyncd.storage.files import ensure_folder

__all__ = ["refuse_nothing", "results_folder"]


@contextmanager
def results_folder(out: Path, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Where to write results, and where to work; the results take their place at the end.

    Args:
        out: wanted folder.
        overwrite: replace earlier results there.

    Yields:
        Folder of the results, and a folder that is removed afterwards.

    Raises:
        OutputError: `out` is a file, holds other files, or cannot be written.
    """
    _check_target(out, overwrite)
    ensure_folder(out.absolute().parent)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.absolute().parent) as scratch:
        results, work = Path(scratch) / "results", Path(scratch) / "work"
        results.mkdir()
        yield results, work
        if out.exists():
            out.replace(Path(scratch) / "older")
        results.replace(out)


def refuse_nothing(found: Discovery, images: Path) -> None:
    """Raise DatasetError where not one image could be used."""
    if found.images:
        return
    first = found.skipped[0] if found.skipped else None
    reason = f"{first.name}: {first.reason}" if first else "no image"
    raise DatasetError(
        f"expected at least one usable image in {images}, got none; first reason: {reason}"
    )


def _check_target(out: Path, overwrite: bool) -> None:
    """Refuse to replace what is no earlier result, or was not asked to be replaced."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out {out}: expected a folder, got a file; choose another")
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise OutputError(
                f"--out {out}: expected a new or empty folder; choose another or add --overwrite"
            )
        if not (out / names.PREDICTIONS).is_file():
            raise OutputError(
                f"--out {out}: expected earlier predictions to replace, got other files"
            )
