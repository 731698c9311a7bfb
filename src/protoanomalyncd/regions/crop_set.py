"""Crops of many images as one set of arrays, in the canonical order, in memory or on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray
from protoanomalyncd.regions.crops import Crop
from protoanomalyncd.regions.descriptors import DESCRIPTORS, NOTHING
from protoanomalyncd.storage.files import read_json, replace_atomically, write_json
from protoanomalyncd.storage.row_files import RowFile, Rows, RowWriter, join_rows

__all__ = ["CropSet", "CropWriter"]

_PICTURES = ("images", "masks", "maps")
_NUMBERS = ("scores", "labels", "descriptors")
_OBJECTS = "objects.npy"
_KEYS = "keys.json"


@dataclass(frozen=True, slots=True, eq=False)
class CropSet:
    """n crops of side S, D descriptors of their regions.

    The pictures may lie on disk: take them row by row (``crops.images[i]``), and memory does not
    grow with n.

    Args:
        images: RGB, uint8 (n, S, S, 3).
        masks: binarised maps, bool (n, S, S).
        maps: normalised anomaly maps in [0, 1], (n, S, S), float32 of half precision.
        scores: s, maximum of the normalised map inside the crop, (n,).
        labels: known class of each crop, -1 = unlabelled, (n,).
        descriptors: what a crop loses of its region, (n, D) in the order of `DESCRIPTORS`.
        keys: identity of each crop by content (image's content key and region number); seeds of
            its augmentations derive from it, so that names and order change nothing.
        objects: object masks (n, S, S); None = everything is object in all of them.
    """

    images: Rows
    masks: Rows
    maps: Rows
    scores: FloatArray
    labels: npt.NDArray[np.int64]
    descriptors: FloatArray
    keys: tuple[str, ...]
    objects: Rows | None = None

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
        """Stack crops given as (image, mask, map), in memory.

        Without descriptors they are of nothing; without object masks everything is object.
        """
        return cls(
            np.stack([c[0] for c in crops]),
            np.stack([c[1] for c in crops]).astype(np.bool_),
            np.stack([c[2] for c in crops]).astype(np.float16).astype(np.float32),
            np.asarray(scores, np.float32),
            np.asarray(labels, np.int64),
            _table([NOTHING] * len(keys) if descriptors is None else descriptors),
            tuple(keys),
            _stack_objects(objects, crops),
        )

    @classmethod
    def concatenate(cls, first: CropSet, second: CropSet) -> CropSet:
        """Both sets, one after the other; what is on disk stays there."""
        objects: Rows | None = None
        if first.objects is not None or second.objects is not None:
            objects = join_rows(_objects_or_all(first), _objects_or_all(second))
        return cls(
            join_rows(first.images, second.images),
            join_rows(first.masks, second.masks),
            join_rows(first.maps, second.maps),
            np.concatenate([first.scores, second.scores]),
            np.concatenate([first.labels, second.labels]),
            np.concatenate([first.descriptors, second.descriptors]),
            first.keys + second.keys,
            objects,
        )

    def object_of(self, crop: int) -> MaskArray | None:
        """Object mask (S, S) of one crop; None where everything is object in all of them."""
        return None if self.objects is None else np.asarray(self.objects[crop], np.bool_)

    def save(self, folder: Path) -> None:
        """Write the crops into a folder."""
        with CropWriter(folder, self.images.shape[1]) as writer:
            for i, key in enumerate(self.keys):
                crop = Crop(self.images[i], self.masks[i], self.maps[i], self.object_of(i))
                described = dict(zip(DESCRIPTORS, self.descriptors[i].tolist(), strict=True))
                numbers = (float(self.scores[i]), int(self.labels[i]))
                writer.append(crop, *numbers, key, described)

    @classmethod
    def load(cls, folder: Path) -> CropSet:
        """Read what `CropWriter` wrote; the pictures stay on disk.

        Raises:
            ModelFormatError: a file is missing or damaged.
        """
        images, masks = (RowFile(folder / f"{name}.npy") for name in _PICTURES[:2])
        maps = RowFile(folder / "maps.npy", np.float32)
        scores, labels, descriptors = (
            np.asarray(RowFile(folder / f"{name}.npy")) for name in _NUMBERS
        )
        keys = tuple(read_json(folder / _KEYS)["keys"])
        objects = RowFile(folder / _OBJECTS) if (folder / _OBJECTS).is_file() else None
        return cls(images, masks, maps, scores, labels, descriptors, keys, objects)

    @staticmethod
    def is_complete(folder: Path) -> bool:
        """True where the writer came to its end."""
        return (folder / _KEYS).is_file()


class CropWriter:
    """Writes crops into a folder one by one; the list of keys comes last and marks it complete.

    Use it in a ``with`` statement; a block that fails leaves an incomplete folder.

    Args:
        folder: is made.
        side: S [px].
    """

    def __init__(self, folder: Path, side: int) -> None:
        self._folder, self._side = folder, side
        self._scores: list[float] = []
        self._labels: list[int] = []
        self._keys: list[str] = []
        self._described: list[Mapping[str, float]] = []
        self._open = ExitStack()
        self._any_object = False

    def __enter__(self) -> CropWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / _KEYS).unlink(missing_ok=True)
        kinds = (((3,), np.uint8), ((), np.bool_), ((), np.float16))
        self._files = [
            self._open.enter_context(
                RowWriter(self._folder / f"{name}.npy", (self._side, self._side, *channels), kind)
            )
            for name, (channels, kind) in zip(_PICTURES, kinds, strict=True)
        ]
        square = (self._side, self._side)
        self._objects = self._open.enter_context(
            RowWriter(self._folder / _OBJECTS, square, np.bool_)
        )
        return self

    def append(
        self, crop: Crop, score: float, label: int, key: str, descriptors: Mapping[str, float]
    ) -> None:
        """Write one crop; see `CropSet` for the arguments. Without object mask: all is object."""
        rows: tuple[npt.NDArray[np.generic], ...] = (crop.image, crop.mask, crop.amap)
        for file, row in zip(self._files, rows, strict=True):
            file.append(row)
        self._any_object |= crop.on_object is not None
        self._objects.append(
            np.ones(crop.mask.shape, np.bool_) if crop.on_object is None else crop.on_object
        )
        self._scores.append(score)
        self._labels.append(label)
        self._keys.append(key)
        self._described.append(descriptors)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._open.close()
        if kind is not None:
            return
        if not self._any_object:
            (self._folder / _OBJECTS).unlink()
        _save_array(self._folder / "scores.npy", np.asarray(self._scores, np.float32))
        _save_array(self._folder / "labels.npy", np.asarray(self._labels, np.int64))
        _save_array(self._folder / "descriptors.npy", _table(self._described))
        write_json(self._folder / _KEYS, {"keys": self._keys})


def _objects_or_all(crops: CropSet) -> Rows:
    """Object masks; where there are none, True without taking room."""
    if crops.objects is not None:
        return crops.objects
    return np.broadcast_to(np.True_, crops.masks.shape)


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


def _table(described: Sequence[Mapping[str, float]]) -> FloatArray:
    """Descriptors by name -> (n, D)."""
    rows = [[d[name] for name in DESCRIPTORS] for d in described]
    return np.asarray(rows, np.float32).reshape(len(rows), len(DESCRIPTORS))


def _save_array(path: Path, values: npt.NDArray[np.generic]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)

    replace_atomically(path, write)
