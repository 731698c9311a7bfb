"""Files of anomaly maps: read one, smooth a coarse one, and find the map of every image.

Formats: ``.npy`` (h, w), (1, h, w) or (h, w, 1); ``.tif`` / ``.tiff`` (float or integer); ``.png``
(grey, 1 to 16 bit). Values are taken as they are: the range is fitted on the data set, so all maps
of a set must be in the same units.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from protoanomalyncd.core.errors import AnomalyMapError
from protoanomalyncd.core.records import FloatArray, Sample
from protoanomalyncd.datasets.companions import Companion, match_companions

__all__ = ["COARSE", "MAP_SUFFIXES", "match_maps", "read_map", "smooth_coarse"]

MAP_SUFFIXES = (".npy", ".png", ".tif", ".tiff")
COARSE = 64
"""Cells a side, at most, of a map that comes straight from a grid of patches."""
_MAPS = Companion("anomaly map", MAP_SUFFIXES, AnomalyMapError)


def read_map(path: Path) -> FloatArray:
    """Read one anomaly map of any supported format.

    Returns:
        float32 (h, w), finite, in the file's own units.

    Raises:
        AnomalyMapError: the file is no readable map, has more than one channel, is empty, or holds
            NaN or infinite values.
    """
    try:
        values = _read_values(path)
    except AnomalyMapError:
        raise
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        MemoryError,
        cv2.error,
        Image.DecompressionBombError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise AnomalyMapError(
            f"{path}: expected an anomaly map, but it cannot be read: {reason}"
        ) from error
    shape = values.shape
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        hint = " (a coloured heat map is no map of scores)" if shape[-1:] in ((3,), (4,)) else ""
        raise AnomalyMapError(f"{path}: expected an anomaly map (h, w), got shape {shape}{hint}")
    if values.size == 0:
        raise AnomalyMapError(
            f"{path}: expected an anomaly map (h, w), got an empty one, shape {shape}"
        )
    if values.dtype.kind not in "fiub":
        raise AnomalyMapError(f"{path}: expected numbers, got type {values.dtype}")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, refused below
        scores = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(scores).all():
        count = int((~np.isfinite(scores)).sum())
        raise AnomalyMapError(
            f"{path}: expected finite values, got {count} of {scores.size} NaN or infinite"
        )
    return scores


def _read_values(path: Path) -> npt.NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        loaded = np.load(path, allow_pickle=False)
        return np.asarray(loaded)
    if suffix in (".tif", ".tiff"):
        # OpenCV also reads 64-bit float TIFF, which Pillow does not.
        decoded = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None:
            raise AnomalyMapError(f"{path}: expected a TIFF anomaly map, but it cannot be decoded")
        return np.asarray(decoded)
    if suffix != ".png":
        raise AnomalyMapError(f"{path}: expected one of {', '.join(MAP_SUFFIXES)}, got {suffix!r}")
    with Image.open(path) as image:
        if image.mode == "P":
            raise AnomalyMapError(f"{path}: expected a grey PNG, got one with a colour palette")
        return np.asarray(image)


def smooth_coarse(amap: FloatArray, deviation: float) -> FloatArray:
    """Smooth a map that has a score for each patch, as detectors do before they show one (*ours*).

    Finer maps (above `COARSE` cells a side) come enlarged and smoothed already, or are masks: they
    are left as they are.

    Args:
        amap: scores (h, w).
        deviation: of the Gaussian [cells]; 0 = none.

    Returns:
        float32 (h, w); the map itself where nothing is to be done.
    """
    is_map = amap.ndim == 2 and amap.size > 0  # whatever else comes is refused further on
    if deviation == 0 or not is_map or max(amap.shape) > COARSE:
        return amap
    smooth = cv2.GaussianBlur(np.asarray(amap, np.float32), (0, 0), deviation)
    return np.asarray(smooth, np.float32)


def match_maps(samples: Sequence[Sample], folder: Path) -> dict[str, Path]:
    """Find the map of every image, by the rules of `match_companions`.

    Returns:
        `Sample.name` -> map file; an image without a map is absent.

    Raises:
        AnomalyMapError: the folder is missing or holds no map, a match is ambiguous, or more than
            half of the images have no map.
    """
    return match_companions(samples, folder, _MAPS)
