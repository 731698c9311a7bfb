"""Walking a folder of images: which files count, which do not, and their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from protoanomalyncd.core.errors import DatasetError
from protoanomalyncd.core.records import Skipped
from protoanomalyncd.datasets.images import IMAGE_SUFFIXES

__all__ = ["existing_folder", "find_mask", "image_files", "subfolders"]

_SIDE_SUFFIXES = frozenset(
    {".csv", ".db", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".npy", ".npz", ".pdf"}
    | {".py", ".txt", ".xml", ".yaml", ".yml"}
)
"""Files that lie beside images and that nobody expects to be read as one."""


def existing_folder(root: str | Path) -> Path:
    """`root` as a path, if it is a folder.

    Raises:
        DatasetError: it is missing, or a file.
    """
    folder = Path(root)
    if folder.is_dir():
        return folder
    came = "a file" if folder.exists() else "nothing there"
    raise DatasetError(f"{folder}: expected a folder of images, got {came}; check the path")


def subfolders(folder: Path) -> list[Path]:
    """Folders directly inside `folder`, sorted by name; hidden ones are left out.

    Raises:
        DatasetError: the folder cannot be listed.
    """
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DatasetError(_unreadable(folder, error)) from error


def image_files(root: Path, below: str = "") -> tuple[list[tuple[str, Path]], list[Skipped]]:
    """Image files of a folder and all its subfolders.

    Hidden files and folders are ignored, as are tables, texts and arrays beside the images; any
    other file without an image suffix is listed as skipped. Linked folders are followed, each
    once.

    Args:
        root: the data set's root; names are relative to it.
        below: part of it to walk, relative, with forward slashes; empty = all.

    Returns:
        (name, path) of each image, sorted by name; and what was skipped.

    Raises:
        DatasetError: a folder cannot be listed.
    """
    found: list[tuple[str, Path]] = []
    skipped: list[Skipped] = []
    for path in _files(root / below):
        name = path.relative_to(root).as_posix()
        suffix = path.suffix.lower()
        if not name.isprintable():
            # Such a name could be written neither to a table nor to a report.
            shown = name.encode("unicode_escape", "backslashreplace").decode("ascii", "replace")
            skipped.append(Skipped(shown, "its name holds unprintable characters; rename it"))
        elif suffix in IMAGE_SUFFIXES:
            found.append((name, path))
        elif suffix not in _SIDE_SUFFIXES:
            skipped.append(Skipped(name, f"not an image ({suffix or 'no suffix'})"))
    return sorted(found), sorted(skipped, key=lambda s: s.name)


def find_mask(folder: Path, image: Path) -> Path | None:
    """Mask of an image in `folder`: ``<stem>_mask`` or ``<stem>``, png first; None = no mask."""
    for stem in (f"{image.stem}_mask", image.stem):
        for suffix in IMAGE_SUFFIXES:
            candidate = folder / f"{stem}{suffix}"
            if candidate.is_file():
                return candidate
    return None


def _files(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise DatasetError(_unreadable(folder, error)) from error

    seen: set[str] = set()
    for here, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            # A link back to a folder above would be walked for ever.
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for file in sorted(files):
            if not file.startswith("."):
                yield Path(here, file)


def _unreadable(folder: Path, error: OSError) -> str:
    return f"{error.filename or folder}: expected a readable folder, got: {error.strerror}"
