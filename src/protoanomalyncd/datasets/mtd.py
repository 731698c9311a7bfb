"""Magnetic Tile Defect: the published folders -> MVTec AD layout.

Source: Huang, Qiu, Yuan, "Surface defect saliency of magnetic tile", The Visual Computer 36, 2020
(github abin24/Magnetic-tile-defect-datasets.). The split of the normal images is that of DifferNet
(github marco-rudolph/differnet), a list of 761 names.

The published masks have grey, anti-aliased borders, which would widen a thin crack up to twice:
they are cut at half intensity. A few masks of ``Uneven`` are empty or nearly so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from protoanomalyncd.core.errors import DatasetError
from protoanomalyncd.datasets.folders import existing_folder
from protoanomalyncd.datasets.staging import (
    PrepareSummary,
    build_folder,
    copy_file,
    write_mask,
)
from protoanomalyncd.datasets.values import read_values

__all__ = ["MTD_TYPES", "prepare_mtd"]

MTD_TYPES: tuple[str, ...] = ("blowhole", "break", "crack", "fray", "uneven")
"""Defect types, as the prepared folders call them."""

_SPLIT_FILE = "mtd_train_filenames.txt"
_FREE = "MT_Free"


def prepare_mtd(source: str | Path, out: str | Path) -> PrepareSummary:
    """Magnetic tiles: normal images split as published, every defect in the test set.

    Writes ``train/good``, ``test/good``, ``test/<type>`` and ``ground_truth/<type>``.

    Args:
        source: folder with ``MT_<type>/Imgs/*.jpg`` and ``*.png``, ``MT_Free`` among them, and
            ``mtd_train_filenames.txt``.
        out: folder to write; appears only when complete.

    Raises:
        DatasetError: the source is not of that layout.
        ImageError: a mask cannot be read.
        OutputError: `out` holds other files, or cannot be written.
    """
    root = existing_folder(source)
    needed = [_SPLIT_FILE, f"{_FREE}/Imgs", *(f"{_folder(t)}/Imgs" for t in MTD_TYPES)]
    missing = [name for name in needed if not (root / name).exists()]
    if missing:
        raise DatasetError(
            f"{root}: expected the folders MT_<type>/Imgs and {_SPLIT_FILE} of Magnetic Tile "
            f"Defect, got no {', '.join(missing)}; give the folder that holds them"
        )
    return build_folder(Path(out), {"data_set": "mtd"}, lambda staging: _fill(root, staging))


def _folder(kind: str) -> str:
    return f"MT_{kind.capitalize()}"


def _fill(root: Path, staging: Path) -> tuple[dict[str, int], dict[str, int]]:
    counts: dict[str, int] = {}
    free = _images(root / _FREE / "Imgs")
    training = _training_names(root, {p.name for p in free})
    for path in free:
        place = "train/good" if path.name in training else "test/good"
        copy_file(path, staging / place / path.name)
        counts[place] = counts.get(place, 0) + 1
    for kind in MTD_TYPES:
        for path in _images(root / _folder(kind) / "Imgs"):
            mask_path = path.with_suffix(".png")
            if not mask_path.is_file():
                raise DatasetError(
                    f"{mask_path}: expected the mask of {path.name} beside it, got nothing there; "
                    "fetch the data set again"
                )
            mask = read_values(mask_path)
            copy_file(path, staging / "test" / kind / path.name)
            target = staging / "ground_truth" / kind / f"{path.stem}_mask.png"
            write_mask(target, np.asarray(mask >= 128))
            counts[f"test/{kind}"] = counts.get(f"test/{kind}", 0) + 1
    return counts, {}


def _images(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".jpg")
    if not paths:
        raise DatasetError(f"{folder}: expected .jpg images, got none; fetch the data set again")
    return paths


def _training_names(root: Path, present: set[str]) -> set[str]:
    """Names of the training images; all must be there, or it would be another split."""
    text = (root / _SPLIT_FILE).read_text(encoding="utf-8", errors="replace")
    names = set(text.split())
    absent = sorted(names - present)
    if absent or not names or names == present:
        came = f"no {absent[0]} ({len(absent)} missing)" if absent else f"{len(names)} names"
        raise DatasetError(
            f"{root / _SPLIT_FILE}: expected names of a part of {_FREE}/Imgs, got {came}; fetch "
            "the data set again"
        )
    return names
