"""Files that belong to images and lie in a folder of their own: anomaly maps, object masks."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from protoanomalyncd.core.errors import AnomalyMapError, ImageError, shown
from protoanomalyncd.core.records import Sample
from protoanomalyncd.datasets.folders import walk

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
    ``FOLDER/test/crack/012.npy``. Where two images differ by their suffixes only, the file is named
    after the whole name, ``a.png.npy``; such a file comes before ``a.npy``. Where the folder does
    not mirror the images, it is tried without the images' first folder (``FOLDER/crack/012.npy``);
    where that fails too, the file name alone decides, which must then be unique among the images
    and among the files. Composed and decomposed letters (NFC, NFD) are the same.

    Args:
        samples: images.
        folder: searched with its subfolders, linked ones too; hidden files are passed over, and so
            are the images themselves, beside which the files may lie.
        companion: what is looked for.

    Returns:
        `Sample.name` -> file; an image without one is absent.

    Raises:
        InputError: of the companion's kind: the folder is missing or holds no such file, a match is
            ambiguous, or more than half of the images have none. Also where it cannot be listed.
    """
    files = _list(samples, folder, companion)
    names = list(dict.fromkeys(sample.name for sample in samples))
    image_key, file_key = _keys(names, files)
    files_of: dict[str, list[str]] = {}
    for file in files:
        files_of.setdefault(file_key(_stemmed(file)), []).append(file)
    claims: dict[str, list[str]] = {}
    for name in names:
        whole, stem = image_key(_composed(name)), image_key(_stemmed(name))
        claims.setdefault(whole if whole in files_of else stem, []).append(name)
    found = {}
    for key, claimants in claims.items():
        candidates = files_of.get(key, [])
        if len(candidates) > 1:
            raise companion.error(
                f"expected one {companion.what} for {shown(claimants[0])}, got "
                f"{shown(' and '.join(candidates[:2]))}; keep one"
            )
        if candidates and len(claimants) > 1:
            suffix = PurePosixPath(candidates[0]).suffix
            ones = [shown(f"{name}{suffix}") for name in claimants[:2]]
            raise companion.error(
                f"{folder}: expected an {companion.what} for each image, got {candidates[0]} for "
                f"both {' and '.join(map(shown, claimants[:2]))}; name them {' and '.join(ones)}"
            )
        if candidates:
            found[claimants[0]] = folder / candidates[0]
    missing = [name for name in names if name not in found]
    if 2 * len(missing) > len(names):
        raise companion.error(
            f"{folder}: expected an {companion.what} for each image, {len(missing)} of "
            f"{len(names)} have none; first: {shown(missing[0])} (looked for "
            f"{shown(_stemmed(missing[0]))} with one of {', '.join(companion.suffixes)})"
        )
    return found


def _list(samples: Sequence[Sample], folder: Path, companion: Companion) -> list[str]:
    """Paths of all such files relative to the folder, with forward slashes, sorted."""
    if not os.path.isdir(folder):
        raise companion.error(f"expected a folder of {companion.what}s, got {shown(folder)}")
    images = {os.path.realpath(sample.path) for sample in samples}
    files = [
        path.relative_to(folder).as_posix()
        for path in walk(folder)
        if path.name.lower().endswith(companion.suffixes) and os.path.realpath(path) not in images
    ]
    if not files:
        raise companion.error(
            f"{folder}: expected {companion.what}s ({', '.join(companion.suffixes)}), got no such "
            "file"
        )
    return sorted(files)


def _keys(
    names: Sequence[str], files: Sequence[str]
) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """What of an image's and of a file's path decides that they belong together."""
    folders = {_folder(file) for file in files}
    if folders & {_folder(name) for name in names}:
        return str, str
    if folders & {_folder(_below_first(name)) for name in names} - {"."}:
        return _below_first, str
    return _base, _base


def _folder(relative: str) -> str:
    return str(PurePosixPath(_composed(relative)).parent)


def _below_first(relative: str) -> str:
    return relative.partition("/")[2] or relative


def _base(relative: str) -> str:
    return relative.rpartition("/")[2]


def _stemmed(relative: str) -> str:
    return str(PurePosixPath(_composed(relative)).with_suffix(""))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
