"""AeBAD, aero-engine blades: the published folders -> MVTec AD layout.

Source: Zhang et al., "Industrial Anomaly Detection with Domain Shift", 2023 (github
zhangzilongc/MMR); licence CC BY 4.0. Two sets, each prepared by itself::

    AeBAD_S/train/good/<domain>/*.png        single blades; <domain> is background, illumination,
    AeBAD_S/test/<type>/<domain>/*.png       view, and in test also same
    AeBAD_S/ground_truth/<type>/<domain>/*.png
    AeBAD_V/train/good/<video>_train/*.jpg   videos of blades, without masks
    AeBAD_V/test/<video>/{good,anomaly}/*.jpg

The domain or video goes into the file's name, because file names repeat between them. AnomalyNCD
takes the four defect types of AeBAD-S (ablation, breakdown, fracture, groove) as its labelled base
set: a prepared AeBAD-S serves as ``--labelled`` too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from protoanomalyncd.core.errors import DatasetError
from protoanomalyncd.datasets.folders import existing_folder, find_masks, image_files, subfolders
from protoanomalyncd.datasets.staging import PrepareSummary, build_folder, copy_file

__all__ = ["prepare_aebad"]

NORMAL = "good"
_PARTS = ("AeBAD_S", "AeBAD_V")


def prepare_aebad(source: str | Path, out: str | Path) -> PrepareSummary:
    """Aero-engine blades, AeBAD-S or AeBAD-V: normal images in train, the rest in test.

    Writes ``train/good``, ``test/good`` and ``test/<type>``; for AeBAD-S ``ground_truth/<type>``.

    Args:
        source: the folder ``AeBAD_S`` or ``AeBAD_V``.
        out: folder to write; appears only when complete.

    Raises:
        DatasetError: the source is not of that layout, or a mask is missing.
        ImageError: a file cannot be read.
        OutputError: `out` holds other files, or cannot be written.
    """
    root = existing_folder(source)
    both = [name for name in _PARTS if (root / name).is_dir()]
    if both:
        raise DatasetError(
            f"{root}: expected one of AeBAD's two sets, got the folder of {' and '.join(both)}; "
            f"give {root / both[0]}"
        )
    needed = (f"train/{NORMAL}", "test")
    missing = [name for name in needed if not (root / name).is_dir()]
    if missing:
        raise DatasetError(
            f"{root}: expected {' and '.join(needed)} of AeBAD_S or AeBAD_V, got no "
            f"{', '.join(missing)}; give the folder that holds them"
        )
    single = (root / "ground_truth").is_dir()
    identity = {"data_set": "aebad", "part": _PARTS[0] if single else _PARTS[1]}
    return build_folder(Path(out), identity, lambda staging: _fill(root, single, staging))


def _fill(root: Path, single: bool, staging: Path) -> tuple[dict[str, int], dict[str, int]]:
    counts: dict[str, int] = {}

    def take(place: str, group: str, path: Path) -> Path:
        """Copy an image; the group keeps its name unique."""
        target = staging / place / f"{group}_{path.name}"
        copy_file(path, target)
        counts[place] = counts.get(place, 0) + 1
        return target

    for group, path in _groups(root, f"train/{NORMAL}"):
        take(f"train/{NORMAL}", group.removesuffix("_train"), path)
    if not single:
        for video in subfolders(root / "test"):
            for kind, path in _groups(root, f"test/{video.name}"):
                take(f"test/{kind}", video.name, path)
    else:
        for kind in (folder.name for folder in subfolders(root / "test")):
            masks = root / "ground_truth" / kind
            images = [
                (path, domain, path.relative_to(root / "test" / kind).as_posix())
                for domain, path in _groups(root, f"test/{kind}")
            ]
            found = {} if kind == NORMAL else find_masks(masks, [name for *_, name in images])
            for path, domain, name in images:
                target = take(f"test/{kind}", domain, path)
                if kind != NORMAL:
                    mask = _mask_of(name, found, masks)
                    copy_file(mask, staging / masks.relative_to(root) / _mask_name(target, mask))
    if f"train/{NORMAL}" not in counts or not any(place.startswith("test/") for place in counts):
        raise DatasetError(
            f"{root}: expected images in train/{NORMAL}/<group> and below test, got "
            f"{sum(counts.values())} images; fetch the data set again"
        )
    return counts, {}


def _groups(root: Path, below: str) -> Iterator[tuple[str, Path]]:
    """(name of the sub-folder, image) of all images in the sub-folders of `below`."""
    for group in subfolders(root / below):
        for _, path in image_files(root, f"{below}/{group.name}")[0]:
            yield group.name, path


def _mask_of(name: str, found: Mapping[str, Path], masks: Path) -> Path:
    if name not in found:
        raise DatasetError(
            f"{masks}: expected the mask of {name}, got nothing there; fetch the data set again"
        )
    return found[name]


def _mask_name(image: Path, mask: Path) -> str:
    return f"{image.stem}_mask{mask.suffix}"
