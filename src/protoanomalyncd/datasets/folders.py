"""Walking a folder of images: which files count, which do not, and their names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from protoanomalyncd.core.errors import DatasetError, reason, shown
from protoanomalyncd.core.records import Skipped
from protoanomalyncd.datasets.images import IMAGE_SUFFIXES

__all__ = ["existing_folder", "find_masks", "image_files", "subfolders", "walk"]

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
    if os.path.isdir(folder):
        return folder
    came = "a file" if os.path.exists(folder) else "nothing there"
    raise DatasetError(f"{shown(folder)}: expected a folder of images, got {came}; check the path")


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
    for path in walk(root / below):
        name = path.relative_to(root).as_posix()
        suffix = path.suffix.lower()
        if not name.isprintable():
            # Such a name could be written neither to a table nor to a report.
            escaped = name.encode("unicode_escape", "backslashreplace").decode("ascii", "replace")
            skipped.append(Skipped(escaped, "its name holds unprintable characters; rename it"))
        elif suffix in IMAGE_SUFFIXES:
            if path.is_file():
                found.append((name, path))
            else:
                skipped.append(Skipped(name, "not a file (a pipe, a device, or a dangling link)"))
        elif suffix not in _SIDE_SUFFIXES:
            skipped.append(Skipped(name, f"not an image ({suffix or 'no suffix'})"))
    return sorted(found), sorted(skipped, key=lambda s: s.name)


def find_masks(folder: Path, images: Sequence[str]) -> dict[str, Path]:
    """Masks of images, in `folder` and its subfolders.

    A mask lies at the relative path of its image, suffix apart, with or without ``_mask``; or, for
    an image in a subfolder, directly in `folder` under its file name; or it is the only file of a
    folder named after the image (MVTec LOCO). Where two images differ by their suffixes only, the
    mask is named after the whole name, ``a.png_mask.png``.

    Args:
        folder: need not be there.
        images: paths relative to their folder, with forward slashes.

    Returns:
        Relative path of the image -> mask; an image without one is absent.

    Raises:
        DatasetError: two images have the same mask, or a folder cannot be listed.
    """
    if not folder.is_dir():
        return {}
    masks: dict[str, Path] = {}
    inside: dict[str, list[Path]] = {}
    for path in sorted(walk(folder), key=lambda p: (p.suffix.lower() != ".png", p)):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            relative = path.relative_to(folder)
            masks.setdefault(str(relative.with_suffix("")), path)
            inside.setdefault(str(relative.parent), []).append(path)
    found: dict[str, Path] = {}
    owner: dict[Path, str] = {}
    for name in images:
        stem, base = os.path.splitext(name)[0], os.path.splitext(name.rpartition("/")[2])[0]
        keys = (f"{name}_mask", name, f"{stem}_mask", stem, f"{base}_mask", base)
        mask = next((masks[key] for key in keys if key in masks), None)
        if mask is None and len(inside.get(stem, ())) == 1:
            mask = inside[stem][0]
        if mask is None:
            continue
        if mask in owner:
            raise DatasetError(
                f"{folder}: expected a mask for each image, got {mask.name} for both "
                f"{shown(owner[mask])} and {shown(name)}; name them {shown(owner[mask])}_mask.png "
                f"and {shown(name)}_mask.png"
            )
        found[name], owner[mask] = mask, name
    return found


def walk(folder: Path) -> Iterator[Path]:
    """Files of a folder and all its subfolders; hidden ones are left out, links are followed.

    Each folder is walked once, however many links lead to it.

    Raises:
        DatasetError: a folder cannot be listed.
    """

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
    return f"{error.filename or folder}: expected a readable folder, got: {reason(error)}"
