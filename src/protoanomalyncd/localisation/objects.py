"""Object masks of a set of images: found once, kept without loss, and laid over anomaly maps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from protoanomalyncd.core.errors import ModelFormatError
from protoanomalyncd.core.records import FloatArray, MaskArray, Sample, Skipped
from protoanomalyncd.localisation.base import Located, ObjectLocaliser
from protoanomalyncd.storage.files import read_json, write_bytes, write_json
from protoanomalyncd.storage.map_store import MapStore

__all__ = ["MaskedMaps", "ObjectStore", "locate_all", "map_store", "mask_map"]


class ObjectStore:
    """Object masks by image name, as PNG of one bit; what is there is complete.

    Args:
        folder: of the files; created when the first mask arrives.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, name: str) -> bool:
        return self._note(name).is_file()

    def put(self, name: str, located: Located) -> None:
        """Keep a mask, or that there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if located.mask is not None:
            bits = np.ascontiguousarray(located.mask).view(np.uint8) * np.uint8(255)
            done, data = cv2.imencode(".png", bits, [cv2.IMWRITE_PNG_BILEVEL, 1])
            if not done:
                raise ValueError(f"expected a mask (h, w) of at least one pixel, got {bits.shape}")
            write_bytes(self._picture(name), data.tobytes())
        # Written last: it says that the mask is complete.
        write_json(
            self._note(name),
            {"name": name, "whole": located.mask is None, "warning": located.warning},
        )

    def get(self, name: str) -> MaskArray | None:
        """Mask (h, w) of an image; None where everything counts as object.

        Raises:
            ModelFormatError: the kept file is damaged.
        """
        if name not in self or read_json(self._note(name))["whole"]:
            return None
        path = self._picture(name)
        bits = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        if bits is None:
            raise ModelFormatError(f"{path}: expected a kept object mask, got a damaged file")
        return np.asarray(bits > 0)

    def warning(self, name: str) -> str:
        """Why the whole image counts although an object was looked for; else empty."""
        return str(read_json(self._note(name))["warning"]) if name in self else ""

    def _note(self, name: str) -> Path:
        return self.folder / f"{_stem(name)}.json"

    def _picture(self, name: str) -> Path:
        return self.folder / f"{_stem(name)}.png"


def _stem(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def locate_all(
    localiser: ObjectLocaliser,
    samples: Sequence[Sample],
    store: ObjectStore,
    progress: Callable[[str, int, int], None],
) -> list[Skipped]:
    """Find the objects of all images, from where an earlier call stopped.

    An image that cannot be read gets no mask; whoever reads it next says so.

    Returns:
        Images in which no object was found, and why.
    """
    if localiser.name == "none":
        return []
    waiting = list(samples)
    if not localiser.precomputed:
        waiting = [s for s in samples if s.name not in store]
    done = len(samples) - len(waiting)
    for sample, result in localiser.locate(waiting):
        store.put(sample.name, Located(None) if isinstance(result, Skipped) else result)
        done += 1
        progress("find objects", done, len(samples))
    notes = ((s.name, store.warning(s.name)) for s in samples)
    return [Skipped(name, reason) for name, reason in notes if reason]


def mask_map(amap: FloatArray, mask: MaskArray) -> FloatArray:
    """Outside the object the map gets its own smallest value; (h, w) -> (h, w).

    A pixel of the map in which any part of the object lies keeps its value.

    Args:
        amap: raw map (h, w).
        mask: True = object, (h', w'), any resolution.
    """
    height, width = amap.shape
    inside = _any_over(_any_over(mask, height).T, width).T
    return np.asarray(np.where(inside, amap, amap.min()), np.float32)


def _any_over(mask: MaskArray, size: int) -> MaskArray:
    """Rows (n, ...) -> (size, ...): True where any row is that the new one overlaps."""
    index, rows = np.arange(size), mask.shape[0]
    first, stop = index * rows // size, -(-(index + 1) * rows // size)
    padded = np.concatenate([mask, np.zeros_like(mask[:1])])  # `stop` may be n
    spans = np.stack([first, stop], axis=1).ravel()
    return np.asarray(np.logical_or.reduceat(padded, spans, axis=0)[::2])


class MaskedMaps(MapStore):
    """Anomaly maps on disk, each seen through its object's mask.

    Args:
        folder: of the raw maps, as in `MapStore`.
        objects: object masks.
    """

    def __init__(self, folder: Path, objects: ObjectStore) -> None:
        super().__init__(folder)
        self._objects = objects

    def get(self, name: str) -> FloatArray:
        """The map of an image, normal outside the object, (h, w)."""
        amap, mask = super().get(name), self._objects.get(name)
        return amap if mask is None else mask_map(amap, mask)


def map_store(folder: Path, objects: ObjectStore, mask_maps: bool) -> MapStore:
    """Where maps are kept; with `mask_maps` they are read silent outside of the object."""
    return MaskedMaps(folder, objects) if mask_maps else MapStore(folder)
