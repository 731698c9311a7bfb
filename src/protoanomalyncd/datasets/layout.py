"""Folders -> data sets.

Three layouts, recognised by their folders:

* **MVTec AD**: ``train/good``, ``test/<type>``, ``ground_truth/<type>/<stem>_mask.png``;
* a **plain folder** of images, with any subfolders: nothing is known about them;
* a **labelled** set: ``images/<class>``, ``masks/<class>/<stem>.png`` (or MVTec AD again, whose
  defect types are then the classes).

Nothing is decoded here: a file that turns out to be damaged is reported by `read_image`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protoanomalyncd.core.errors import ConfigurationError, DatasetError, ImageError
from protoanomalyncd.core.records import Sample, Skipped
from protoanomalyncd.datasets.folders import existing_folder, find_masks, image_files, subfolders
from protoanomalyncd.datasets.images import IMAGE_SUFFIXES, content_key

__all__ = ["Dataset", "LabelledSet", "load_dataset", "load_labelled", "take_per_class"]

NORMAL = "good"
"""What the MVTec AD layout calls images without a defect."""

COMBINED = "combined"
"""What MVTec AD calls images with defects of several types; no class of its own."""

_PARTS_OF_A_SPLIT = frozenset({"train", "training", "val", "valid", "validation", "test"})
"""Names of folders that hold a share of the images, whatever their class."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The images of one product.

    Args:
        root: the folder.
        layout: which layout was recognised.
        normal: images known to be normal, sorted by name; empty where there are none.
        unlabelled: images in which classes are to be discovered, sorted by name; their labels
            are for the metrics only.
        skipped: what was left out, and why.
    """

    root: Path
    layout: Literal["mvtec", "folder"]
    normal: tuple[Sample, ...]
    unlabelled: tuple[Sample, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Images of known defect classes, each with its mask.

    Args:
        root: the folder.
        samples: sorted by name; ``label`` and ``mask_path`` are always given.
        class_names: the classes, sorted; at least two, each with at least two samples.
        skipped: what was left out, and why.
    """

    root: Path
    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


def load_dataset(root: str | Path, *, keep_combined: bool = False) -> Dataset:
    """Find the images of a data set.

    Args:
        root: a folder in the MVTec AD layout (one product), or a plain folder of images.
        keep_combined: keep the type ``combined`` of MVTec AD; the published protocol drops it.

    Raises:
        DatasetError: the folder is missing, unreadable, without images, without test images, or
            holds several products.
    """
    folder = existing_folder(root)
    if _is_mvtec(folder):
        return _load_mvtec(folder, keep_combined)
    products = [p.name for p in subfolders(folder) if _is_mvtec(p)]
    if products:
        raise DatasetError(
            f"{folder}: expected the folder of one product, got {len(products)} products "
            f"({_some(products)}); give one of them"
        )
    files, skipped = image_files(folder)
    if not files:
        raise DatasetError(_no_images(folder, len(skipped)))
    samples = tuple(Sample(path, name) for name, path in files)
    return Dataset(folder, "folder", (), samples, tuple(skipped))


def load_labelled(root: str | Path) -> LabelledSet:
    """Find the images, classes and masks of a labelled set.

    An image without a mask is skipped, and so are the types ``good`` and ``combined``, which are
    no defect classes.

    Args:
        root: a folder with ``images/<class>`` and ``masks/<class>``, or in the MVTec AD layout.

    Raises:
        DatasetError: the folder is missing or of another layout, holds fewer than two classes, or
            a class has fewer than two images with masks.
    """
    folder = existing_folder(root)
    if (folder / "images").is_dir():
        below, masks = "images", "masks"
    elif (folder / "test").is_dir():
        below, masks = "test", "ground_truth"
    else:
        raise DatasetError(
            f"{folder}: expected images/<class> and masks/<class>, or test/<type> and "
            "ground_truth/<type>, got neither; see `protoanomalyncd prepare`"
        )
    if not (folder / masks).is_dir():
        raise DatasetError(
            f"{folder}: expected the masks of {below}/ in {masks}/, got no such folder; a labelled "
            "set needs a mask for each image"
        )
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    kinds = subfolders(folder / below)
    parts = [kind.name for kind in kinds if kind.name.lower() in _PARTS_OF_A_SPLIT]
    if parts:
        raise DatasetError(
            f"{folder / below}: expected a folder for each class, got the parts of a split "
            f"({_some(parts)}); put the images into folders of their classes"
        )
    for kind in kinds:
        if kind.name in (NORMAL, COMBINED):
            skipped.append(Skipped(f"{below}/{kind.name}", "not a defect class"))
            continue
        found, left_out = _of_type(folder, below, masks, kind.name)
        skipped += left_out
        samples += (s for s in found if s.mask_path is not None)
        skipped += (Skipped(s.name, "has no mask") for s in found if s.mask_path is None)
    return _checked(folder, samples, skipped)


def take_per_class(labelled: LabelledSet, n: int, seed: int) -> LabelledSet:
    """Draw at most `n` samples of each class.

    The draw depends on the files' contents and the seed only, not on names or order; a larger
    `n` adds samples to those of a smaller one.

    Args:
        labelled: the set to draw from.
        n: samples of each class, at least 2; a smaller class is kept whole.
        seed: of the draw.

    Raises:
        ConfigurationError: `n` is below 2.
        DatasetError: too little is left of the classes; a file that cannot be read is skipped.
    """
    if n < 2:
        raise ConfigurationError(f"expected at least 2 samples a class, got {n}")

    skipped = list(labelled.skipped)
    drawn: list[Sample] = []
    for name in labelled.class_names:
        members = [s for s in labelled.samples if s.label == name]
        if len(members) > n:
            tickets: list[tuple[str, Sample]] = []
            for sample in members:
                try:
                    text = f"{seed}/{content_key(sample.path)}"
                except ImageError as error:
                    skipped.append(Skipped(sample.name, str(error)))
                    continue
                tickets.append((hashlib.sha256(text.encode()).hexdigest(), sample))
            members = [sample for _, sample in sorted(tickets, key=lambda t: t[0])[:n]]
        drawn += members
    return _checked(labelled.root, drawn, skipped)


def _is_mvtec(folder: Path) -> bool:
    # `test` alone may be any folder of images; one of its companions makes it this layout.
    return (folder / "train" / NORMAL).is_dir() or (
        (folder / "test").is_dir() and (folder / "ground_truth").is_dir()
    )


def _load_mvtec(folder: Path, keep_combined: bool) -> Dataset:
    if not (folder / "test").is_dir():
        raise DatasetError(
            f"{folder}: expected images to classify in test/<type>, got train/ only; for a folder "
            "without this layout give the folder of the images itself"
        )
    normal: tuple[Sample, ...] = ()
    skipped: list[Skipped] = []
    if (folder / "train" / NORMAL).is_dir():
        files, skipped = image_files(folder, f"train/{NORMAL}")
        normal = tuple(Sample(path, name, NORMAL) for name, path in files)
    unlabelled: list[Sample] = []
    for kind in subfolders(folder / "test"):
        samples, left_out = _of_type(folder, "test", "ground_truth", kind.name)
        skipped += left_out
        if kind.name == COMBINED and not keep_combined:
            reason = f"{len(samples)} images with defects of several types; not a class"
            skipped.append(Skipped(f"test/{COMBINED}", reason))
            continue
        unlabelled += samples
    loose, _ = image_files(folder, "test")
    types = {kind.name for kind in subfolders(folder / "test")}
    # An image directly in test/ has no type: it is classified, but no metric counts it.
    unlabelled += (Sample(path, name) for name, path in loose if name.split("/")[1] not in types)
    if not unlabelled:
        raise DatasetError(
            f"{folder}: expected images in test/<type>, got none; put the images to classify there"
        )
    unlabelled.sort(key=lambda s: s.name)
    return Dataset(folder, "mvtec", normal, tuple(unlabelled), tuple(skipped))


def _of_type(folder: Path, below: str, masks: str, kind: str) -> tuple[list[Sample], list[Skipped]]:
    """Images of one type, labelled by it, with their masks where there are any."""
    files, skipped = image_files(folder, f"{below}/{kind}")
    start = len(f"{below}/{kind}/")
    names = [name[start:] for name, _ in files]
    found = {} if kind == NORMAL else find_masks(folder / masks / kind, names)
    samples = [
        Sample(path, name, kind, found.get(inside))
        for (name, path), inside in zip(files, names, strict=True)
    ]
    return samples, skipped


def _checked(folder: Path, samples: list[Sample], skipped: list[Skipped]) -> LabelledSet:
    """The labelled set, if there is enough to learn from."""
    counts = Counter(s.label for s in samples if s.label is not None)
    without = [s.name for s in skipped if s.reason == "has no mask"]
    hint = f" ({len(without)} images have no mask, such as {without[0]})" if without else ""
    if len(counts) < 2:
        raise DatasetError(
            f"{folder}: expected at least 2 classes of images with masks, got "
            f"{len(counts)}{hint}; add classes, or run without a labelled set"
        )
    small = sorted(name for name, count in counts.items() if count < 2)
    if small:
        raise DatasetError(
            f"{folder}: expected at least 2 images with masks in each class, got 1 in "
            f"{_some(small)}{hint}; add images or remove the class"
        )
    ordered = tuple(sorted(samples, key=lambda s: s.name))
    return LabelledSet(folder, ordered, tuple(sorted(counts)), tuple(skipped))


def _no_images(folder: Path, n_others: int) -> str:
    others = f"{n_others} other files" if n_others else "none"
    kinds = ", ".join(s[1:] for s in IMAGE_SUFFIXES)
    return f"{folder}: expected images ({kinds}) in it or below, got {others}; check the path"


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
