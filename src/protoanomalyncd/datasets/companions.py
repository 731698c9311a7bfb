"""Files that belong to images and lie in a folder of their own: anomaly maps, object masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from protoanomalyncd.core.errors import AnomalyMapError, ImageError
from protoanomalyncd.core.records import Sample

__all__ = ["Companion", "match_companions"]


@dataclass(frozen=True, slots=True)
class Companion:
    """What lies beside the images.

    Args:
        what: its name in messages, such as "anomaly map".
        suffixes: of its files, in lower case.
        error: what is raised where it cannot be matched.
    """

    what: str
    suffixes: tuple[str, ...]
    error: type[AnomalyMapError] | type[ImageError]


def match_companions(
    samples: Sequence[Sample], folder: Path, companion: Companion
) -> dict[str, Path]:
    """Find the file of every image.

    A file belongs to the image of the same path, suffix apart: ``test/crack/012.png`` and
    ``FOLDER/test/crack/012.npy``. Where the folder does not mirror the images (none is found that
    way, and none of the images' own folders is there), the file name alone decides; it must then be
    unique among the images and among the files.

    Args:
        samples: images.
        folder: searched with its subfolders; hidden files are passed over.
        companion: what is looked for.

    Returns:
        `Sample.name` -> file; an image without one is absent.

    Raises:
        InputError: of the companion's kind: the folder is missing or holds no such file, a match is
            ambiguous, or more than half of the images have none.
    """
    files = _list(folder, companion)
    keys = {sample.name: _stemmed(sample.name) for sample in samples}
    by_path: dict[str, list[str]] = {}
    for relative in files:
        by_path.setdefault(_stemmed(relative), []).append(relative)
    parents = {str(PurePosixPath(relative).parent) for relative in files}
    mirrored = any(
        key in by_path or str(PurePosixPath(key).parent) in parents for key in keys.values()
    )
    found = (
        _match_paths(keys, by_path, companion) if mirrored else _match_stems(keys, files, companion)
    )
    missing = [name for name in keys if name not in found]
    if 2 * len(missing) > len(keys):
        raise companion.error(
            f"{folder}: expected an {companion.what} for each image, {len(missing)} of {len(keys)} "
            f"have none; first: {missing[0]} (looked for {_stemmed(missing[0])} with one of "
            f"{', '.join(companion.suffixes)})"
        )
    return {name: folder / relative for name, relative in found.items()}


def _list(folder: Path, companion: Companion) -> list[str]:
    """Paths of all such files relative to the folder, with forward slashes, sorted."""
    if not folder.is_dir():
        raise companion.error(f"expected a folder of {companion.what}s, got {folder}")
    files = []
    for root, directories, names in os.walk(folder):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(companion.suffixes):
                files.append(Path(root, name).relative_to(folder).as_posix())
    if not files:
        raise companion.error(
            f"{folder}: expected {companion.what}s ({', '.join(companion.suffixes)}), got no such "
            "file"
        )
    return sorted(files)


def _stemmed(relative: str) -> str:
    return str(PurePosixPath(relative).with_suffix(""))


def _match_paths(
    keys: Mapping[str, str], by_path: Mapping[str, list[str]], companion: Companion
) -> dict[str, str]:
    found = {}
    for name, key in keys.items():
        candidates = by_path.get(key, [])
        if len(candidates) > 1:
            raise companion.error(
                f"expected one {companion.what} for {name}, got {' and '.join(candidates)}; "
                "keep one"
            )
        if candidates:
            found[name] = candidates[0]
    return found


def _match_stems(
    keys: Mapping[str, str], files: Sequence[str], companion: Companion
) -> dict[str, str]:
    images_of: dict[str, list[str]] = {}
    for name in keys:
        images_of.setdefault(PurePosixPath(name).stem, []).append(name)
    files_of: dict[str, list[str]] = {}
    for relative in files:
        files_of.setdefault(PurePosixPath(relative).stem, []).append(relative)
    found = {}
    for stem, names in images_of.items():
        candidates = files_of.get(stem, [])
        if not candidates:
            continue
        if len(names) > 1 or len(candidates) > 1:
            several = names if len(names) > 1 else candidates
            raise companion.error(
                f"expected {companion.what}s at the images' relative paths, or unique file names; "
                f"got {stem!r} for {several[0]} and {several[1]}"
            )
        found[names[0]] = candidates[0]
    return found
