"""Raw anomaly maps on disk, one file an image."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from protoanomalyncd.core.records import FloatArray, Skipped
from protoanomalyncd.storage.files import read_json, replace_atomically, write_json

__all__ = ["MapStore"]


class MapStore:
    """Float maps by image name; a map that is there is complete.

    Args:
        folder: of the files; created when the first map arrives.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, name: str) -> bool:
        return self._file(name).is_file()

    def put(self, name: str, amap: FloatArray) -> None:
        """Keep a map (h, w)."""
        self.folder.mkdir(parents=True, exist_ok=True)

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, np.asarray(amap, np.float32), allow_pickle=False)

        replace_atomically(self._file(name), write)

    def put_skipped(self, skipped: Skipped) -> None:
        """Keep why an image has no map."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file(skipped.name).with_suffix(".json"), asdict(skipped))

    def skipped(self, name: str) -> Skipped | None:
        """Why an image has no map; None where it has one, or was not seen yet."""
        path = self._file(name).with_suffix(".json")
        return Skipped(**read_json(path)) if path.is_file() else None

    def get(self, name: str) -> FloatArray:
        """The map of an image, (h, w)."""
        values: FloatArray = np.load(self._file(name), allow_pickle=False)
        return values

    def _file(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.npy"
