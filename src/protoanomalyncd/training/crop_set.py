"""Crops of many images as one set of arrays, in the canonical order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from protoanomalyncd.persistence.files import read_json, replace_atomically, write_json
from protoanomalyncd.regions.descriptors import DESCRIPTORS, NOTHING
from protoanomalyncd.structures import FloatArray, ImageArray, MaskArray

__all__ = ["CropSet"]

_ARRAYS = ("images", "masks", "maps", "scores", "labels", "descriptors")
_OBJECTS = "objects.npy"


@dataclass(frozen=True, slots=True, eq=False)
class CropSet:
    """n crops of side S, D descriptors of their regions.

    Args:
        images: RGB (n, S, S, 3).
        masks: binarised maps (n, S, S).
        maps: normalised anomaly maps in [0, 1], (n, S, S).
        scores: s, maximum of the normalised map inside the crop, (n,).
        labels: known class of each crop, -1 = unlabelled, (n,).
        descriptors: what a crop loses of its region, (n, D) in the order of `DESCRIPTORS`.
        keys: identity of each crop by content (image's content key and region number); seeds of
            its augmentations derive from it, so that names and order change nothing.
        objects: object masks (n, S, S); None = everything is object in all of them.
    """

    images: ImageArray
    masks: MaskArray
    maps: FloatArray
    scores: FloatArray
    labels: npt.NDArray[np.int64]
    descriptors: FloatArray
    keys: tuple[str, ...]
    objects: MaskArray | None = None

    @property
    def anomalous(self) -> npt.NDArray[np.bool_]:
        """Whether each crop holds a region, (n,); False = a whole image in which none was found."""
        return np.array([mask.any() for mask in self.masks], np.bool_)

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def build(
        cls,
        crops: Sequence[tuple[ImageArray, MaskArray, FloatArray]],
        scores: Sequence[float],
        labels: Sequence[int],
        keys: Sequence[str],
        descriptors: Sequence[Mapping[str, float]] | None = None,
        objects: Sequence[MaskArray | None] = (),
    ) -> CropSet:
        """Stack crops given as (image, mask, map).

        Without descriptors they are of nothing; without object masks everything is object.
        """
        described = [NOTHING] * len(keys) if descriptors is None else descriptors
        return cls(
            np.stack([c[0] for c in crops]),
            np.stack([c[1] for c in crops]).astype(np.bool_),
            np.stack([c[2] for c in crops]).astype(np.float16).astype(np.float32),
            np.asarray(scores, np.float32),
            np.asarray(labels, np.int64),
            np.asarray([[d[name] for name in DESCRIPTORS] for d in described], np.float32),
            tuple(keys),
            _stack_objects(objects, crops),
        )

    @classmethod
    def concatenate(cls, first: CropSet, second: CropSet) -> CropSet:
        """Both sets, one after the other."""
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _ARRAYS
        }
        objects: MaskArray | None = None
        if first.objects is not None or second.objects is not None:
            objects = np.concatenate(
                [
                    np.ones_like(part.masks) if part.objects is None else part.objects
                    for part in (first, second)
                ]
            )
        return cls(**arrays, keys=first.keys + second.keys, objects=objects)

    def object_of(self, crop: int) -> MaskArray | None:
        """Object mask (S, S) of one crop; None where everything is object in all of them."""
        return None if self.objects is None else self.objects[crop]

    def save(self, folder: Path) -> None:
        """Write the arrays into a folder; the list of keys comes last and marks it complete."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            _save_array(folder / f"{name}.npy", getattr(self, name))
        if self.objects is not None:
            _save_array(folder / _OBJECTS, self.objects)
        write_json(folder / "keys.json", {"keys": list(self.keys)})

    @classmethod
    def load(cls, folder: Path) -> CropSet:
        """Read what `save` wrote, images memory-mapped."""
        arrays: dict[str, Any] = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in _ARRAYS
        }
        objects = folder / _OBJECTS
        if objects.is_file():
            arrays["objects"] = np.load(objects, mmap_mode="r", allow_pickle=False)
        return cls(**arrays, keys=tuple(read_json(folder / "keys.json")["keys"]))

    @staticmethod
    def is_complete(folder: Path) -> bool:
        """True where `save` came to its end."""
        return (folder / "keys.json").is_file()


def _stack_objects(
    objects: Sequence[MaskArray | None], crops: Sequence[tuple[ImageArray, MaskArray, FloatArray]]
) -> MaskArray | None:
    """Object masks (n, S, S); None where no crop has one."""
    if all(mask is None for mask in objects):
        return None
    return np.stack(
        [
            np.ones(crop[1].shape, np.bool_) if mask is None else mask
            for mask, crop in zip(objects, crops, strict=True)
        ]
    )


def _save_array(path: Path, values: npt.NDArray[Any]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)

    replace_atomically(path, write)
