"""Real-IAD: the published JSON of one product -> MVTec AD layout.

Source: Wang et al., "Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile
Industrial Anomaly Detection", CVPR 2024; licence CC BY-NC-SA 4.0. The layout is the published one::

    realiad_jsons/realiad_jsons/audiojack.json       also realiad_jsons_sv, realiad_jsons_fuiad_0.4
    realiad_256/audiojack/OK/S0001/..._C1_....jpg    also realiad_512, realiad_1024, realiad_raw
    realiad_256/audiojack/NG/BX/S0006/..._C1_....jpg and ..._C1_..._mask.png

The JSON names the class of every single view, which the folders do not: a defect that one camera
sees makes its sample "NG", and the views that do not show it are normal. Defect codes stay as they
are; `REAL_IAD_CODES` says what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protoanomalyncd.core.errors import ConfigurationError, DatasetError
from protoanomalyncd.datasets.folders import existing_folder
from protoanomalyncd.datasets.staging import PrepareSummary, build_folder, copy_file

__all__ = ["REAL_IAD_CODES", "prepare_real_iad"]

REAL_IAD_CODES: dict[str, str] = {
    "AK": "pit",
    "BX": "deformation",
    "CH": "abrasion",
    "HS": "scratch",
    "PS": "damage",
    "QS": "missing parts",
    "YW": "foreign objects",
    "ZW": "contamination",
}
"""Meaning of the defect codes, which are the names of the prepared folders."""

NORMAL = "OK"


def prepare_real_iad(
    source: str | Path,
    out: str | Path,
    category: str | None = None,
    resolution: str | None = None,
) -> PrepareSummary:
    """Real-IAD, one product: normal images split as its JSON says, every defect in the test set.

    Writes ``train/good``, ``test/good``, ``test/<code>`` and ``ground_truth/<code>``.

    Args:
        source: folder with ``realiad_jsons`` and ``realiad_<resolution>``, or one JSON file in it.
        out: folder to write; appears only when complete.
        category: the product; None = that of the JSON file, or the only one.
        resolution: ``256``, ``512``, ``1024`` or ``raw``; None = the only one that is there.

    Raises:
        ConfigurationError: category or resolution is missing, or not there.
        DatasetError: the source is not of that layout, or its JSON does not fit the files.
        ImageError: a file cannot be read.
        OutputError: `out` holds other files, or cannot be written.
    """
    path = Path(source)
    if path.suffix.lower() == ".json":
        if category is not None and category != path.stem:
            raise ConfigurationError(
                f"--category: expected none beside the file {path.name}, got {category!r}"
            )
        annotation, root = path, _root_above(path)
    else:
        root = existing_folder(source)
        annotation = _annotation(root, category)
    images = root / f"realiad_{_resolution(root, resolution)}"
    splits, prefix = _read(annotation)
    if not (images / prefix).is_dir():
        prefix = annotation.stem
    if not (images / prefix).is_dir():
        raise DatasetError(
            f"{images}: expected the images of {annotation.stem} in it, got no folder {prefix}; "
            "fetch them"
        )
    identity = {
        "data_set": "real_iad",
        "category": annotation.stem,
        "images": images.name,
        "split": annotation.parent.name,
    }
    return build_folder(
        Path(out), identity, lambda staging: _fill(splits, images / prefix, annotation, staging)
    )


def _root_above(annotation: Path) -> Path:
    """The folder above a JSON file that holds the images."""
    if not annotation.is_file():
        raise DatasetError(f"{annotation}: expected a JSON file of Real-IAD, got nothing there")
    for folder in annotation.absolute().parents[:3]:
        if _resolutions(folder):
            return folder
    raise DatasetError(
        f"{annotation}: expected realiad_<resolution> in a folder above it, got none; keep the "
        "published folders together"
    )


def _resolutions(root: Path) -> list[str]:
    found = (p.name.removeprefix("realiad_") for p in root.glob("realiad_*") if p.is_dir())
    return sorted(name for name in found if name in ("256", "512", "1024", "raw"))


def _resolution(root: Path, wanted: str | None) -> str:
    present = _resolutions(root)
    if not present:
        raise DatasetError(
            f"{root}: expected realiad_256, realiad_512, realiad_1024 or realiad_raw, got none; "
            "give the folder that holds them"
        )
    if wanted is None and len(present) == 1:
        return present[0]
    if wanted not in present:
        raise ConfigurationError(
            f"--resolution: expected one of {', '.join(present)} in {root}, got {wanted!r}"
        )
    return wanted


def _annotation(root: Path, category: str | None) -> Path:
    """The JSON file of a product, in the multi-view split."""
    folders = (root / "realiad_jsons" / "realiad_jsons", root / "realiad_jsons", root)
    found = next(
        (sorted(folder.glob("*.json")) for folder in folders if any(folder.glob("*.json"))), []
    )
    if not found:
        raise DatasetError(
            f"{root}: expected realiad_jsons/realiad_jsons/<category>.json, got no such file; give "
            "the folder that holds realiad_jsons, or one JSON file"
        )
    by_name = {path.stem: path for path in found}
    if category is None and len(found) == 1:
        return found[0]
    if category not in by_name:
        raise ConfigurationError(
            f"--category: expected one of {', '.join(sorted(by_name))}, got {category!r}"
        )
    return by_name[category]


def _read(annotation: Path) -> tuple[dict[str, list[Mapping[str, Any]]], str]:
    """Entries of ``train`` and ``test``, and the folder that their paths start from."""
    try:
        values = json.loads(annotation.read_text(encoding="utf-8"))
        normal = values.get("meta", {}).get("normal_class", NORMAL)
        prefix = str(values.get("meta", {}).get("prefix", f"{annotation.stem}/"))
        splits = {name: list(values[name]) for name in ("train", "test")}
        for entry in (*splits["train"], *splits["test"]):
            _text(entry["image_path"]), _text(entry["anomaly_class"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"[:120]
        raise DatasetError(
            f"{annotation}: expected Real-IAD's JSON (train and test with image_path and "
            f"anomaly_class), got {reason}; fetch it again"
        ) from error
    if normal != NORMAL:
        raise DatasetError(
            f"{annotation}: expected {NORMAL!r} as the normal class, got {normal!r}; fetch it again"
        )
    return splits, prefix


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected text, got {value!r}")
    return value


def _fill(
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    images: Path,
    annotation: Path,
    staging: Path,
) -> tuple[dict[str, int], dict[str, int]]:
    counts: dict[str, int] = {}
    left_out: dict[str, int] = {}
    for split, entries in splits.items():
        for entry in entries:
            code = entry["anomaly_class"]
            if split == "train" and code != NORMAL:
                # The noisy splits train on defects; a detector of normal images must not.
                reason = "defective, in the training split"
                left_out[reason] = left_out.get(reason, 0) + 1
                continue
            place = f"{split}/{'good' if code == NORMAL else _kind(annotation, code)}"
            path = _inside(images, entry["image_path"], annotation)
            target = staging / place / path.name
            if target.exists():
                raise DatasetError(
                    f"{annotation}: expected each image once, got {path.name} twice in {place}"
                )
            copy_file(path, target)
            if code != NORMAL:
                if not entry.get("mask_path"):
                    raise DatasetError(
                        f"{annotation}: expected a mask_path for the defective image "
                        f"{entry['image_path']}, got none; fetch it again"
                    )
                mask = _inside(images, entry["mask_path"], annotation)
                folder = staging / "ground_truth" / code
                copy_file(mask, folder / f"{path.stem}_mask{mask.suffix}")
            counts[place] = counts.get(place, 0) + 1
    return dict(sorted(counts.items())), left_out


def _kind(annotation: Path, code: str) -> str:
    """A code as the name of a folder."""
    if not code.isidentifier():
        raise DatasetError(f"{annotation}: expected a defect code such as BX, got {code!r}")
    return code


def _inside(images: Path, relative: str, annotation: Path) -> Path:
    """A file of the data set; paths that lead out of it are refused."""
    path = images / relative
    if not path.resolve().is_relative_to(images.resolve()):
        raise DatasetError(f"{annotation}: expected paths below {images}, got {relative}")
    return path
