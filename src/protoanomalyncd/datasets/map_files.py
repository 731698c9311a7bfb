"""Files of anomaly maps: read one, smooth a coarse one, and find the map of every image.

Formats: ``.npy`` (h, w), (1, h, w) or (h, w, 1); ``.tif`` / ``.tiff`` (float of 16 to 64 bits, or
integer); ``.png`` (grey, 1 to 16 bit). A picture of three equal channels counts as grey. Values are
taken as they are: the range is fitted on the data set, so all maps of a set must be in the same
units.
"""

from __future__ import annotations

import mmap
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from protoanomalyncd.core.errors import AnomalyMapError, InputError, reason
from protoanomalyncd.core.records import FloatArray, Sample
from protoanomalyncd.datasets.companions import Companion, match_companions
from protoanomalyncd.datasets.images import PILLOW_FORMATS, check_pixels, regular_file

__all__ = ["COARSE", "MAP_SUFFIXES", "match_maps", "read_map", "read_npy", "smooth_coarse"]

MAP_SUFFIXES = (".npy", ".png", ".tif", ".tiff")
COARSE = 64
"""Cells a side, at most, of a map that comes straight from a grid of patches."""
_MAPS = Companion("anomaly map", MAP_SUFFIXES, AnomalyMapError)


def read_map(path: Path) -> FloatArray:
    """Read one anomaly map of any supported format.

    Returns:
        float32 (h, w), finite, in the file's own units.

    Raises:
        AnomalyMapError: the file is no readable map, has more than one channel, is empty, has more
            than `MAX_PIXELS` pixels, or holds NaN or infinite values.
    """
    regular_file(path, "an anomaly map", AnomalyMapError)
    try:
        with warnings.catch_warnings():
            # Large or odd files are warned of, then read or refused: one line is enough.
            warnings.simplefilter("ignore")
            values = _read_values(path)
    except AnomalyMapError:
        raise
    except Exception as error:
        # The decoders raise nearly anything on damaged bytes (TokenError, RecursionError,
        # TypeError, BadZipFile, MemoryError, cv2.error, struct.error, ...).
        raise AnomalyMapError(
            f"{path}: expected an anomaly map, but it cannot be read: {reason(error)}"
        ) from error
    shape = values.shape
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 3 and shape[-1] in (3, 4) and path.suffix.lower() != ".npy":
        grey = bool((values[..., :3] == values[..., :1]).all())
        values = values[..., 0] if grey else values
    if values.ndim != 2:
        hint = " (a coloured heat map is no map of scores)" if shape[-1:] in ((3,), (4,)) else ""
        raise AnomalyMapError(f"{path}: expected an anomaly map (h, w), got shape {shape}{hint}")
    if values.size == 0:
        raise AnomalyMapError(
            f"{path}: expected an anomaly map (h, w), got an empty one, shape {shape}"
        )
    if min(values.shape) == 1 < max(values.shape):
        raise AnomalyMapError(
            f"{path}: expected an anomaly map (h, w), got one line of {values.size} values; "
            "reshape it to rows and columns of the image"
        )
    if values.dtype.kind not in "fiub":
        raise AnomalyMapError(f"{path}: expected numbers, got type {values.dtype}")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, refused below
        # Copied out of a file that is only mapped: it may change.
        copy = True if isinstance(values, np.memmap) else None
        scores = np.array(values, np.float32, copy=copy, order="C")
    if not np.isfinite(scores).all():
        count = int((~np.isfinite(scores)).sum())
        raise AnomalyMapError(
            f"{path}: expected finite values, got {count} of {scores.size} NaN or infinite"
        )
    return scores


def read_npy(path: Path, error: type[InputError]) -> npt.NDArray[Any]:
    """Map a ``.npy`` file into memory; only its header is read here.

    Args:
        path: the file.
        error: what is raised where it is too large.

    Returns:
        Array of any shape and type but Python objects, read-only.

    Raises:
        InputError: of that type: it holds more than `MAX_PIXELS` values.
        Exception: of nearly any type: it is damaged.
    """
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(values, np.ndarray):
        values.close()
        raise error(f"{path}: expected one array, got an archive of several; save each by itself")
    check_pixels(path, values.shape, error)
    return values


def _read_values(path: Path) -> npt.NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return read_npy(path, AnomalyMapError)
    if suffix in (".tif", ".tiff"):
        return _read_tiff(path)
    if suffix != ".png":
        raise AnomalyMapError(f"{path}: expected one of {', '.join(MAP_SUFFIXES)}, got {suffix!r}")
    with Image.open(path, formats=PILLOW_FORMATS) as image:
        bands = (len(image.getbands()),) if len(image.getbands()) > 1 else ()
        check_pixels(path, (*image.size, *bands), AnomalyMapError)
        if image.mode == "P":
            raise AnomalyMapError(f"{path}: expected a grey PNG, got one with a colour palette")
        return np.asarray(image)


def _read_tiff(path: Path) -> npt.NDArray[Any]:
    """First page of a TIFF file; OpenCV also reads 64-bit float, which Pillow does not."""
    with path.open("rb") as file:  # what is changed below stays in memory
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    order, tags = _tiff_tags(data)
    width, height = tags[256][0], tags[257][0]
    channels = tags.get(277, (1, 0))[0]
    check_pixels(path, (width, height, *((channels,) if channels > 1 else ())), AnomalyMapError)
    half = tags.get(258, (1, 0))[0] == 16 and tags.get(339, (1, 0))[0] == 3
    if half:
        # OpenCV does not know 16-bit float: it decodes the same bits as whole numbers.
        struct.pack_into(f"{order}H", data, tags[339][1], 1)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise AnomalyMapError(f"{path}: expected a TIFF anomaly map, but it cannot be decoded")
    return np.asarray(decoded).view(np.float16) if half else np.asarray(decoded)


def _tiff_tags(data: mmap.mmap) -> tuple[str, dict[int, tuple[int, int]]]:
    """Byte order, and tag -> (value, where it lies) of a file's first page.

    Source: TIFF 6.0, section 2; Adobe's BigTIFF. Only numbers that lie in the entry itself are
    right, and sizes and sample formats of grey pictures are such.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("no TIFF file")
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    (start,) = struct.unpack_from(f"{order}{'8xQ' if big else '4xI'}", data)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)
    start, size, inside = (start + 8, 20, 12) if big else (start + 2, 12, 8)
    tags = {}
    for entry in range(start, start + min(count, 4096) * size, size):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind, "H")
        (value,) = struct.unpack_from(f"{order}{code}", data, entry + inside)
        tags[tag] = (int(value), entry + inside)
    return order, tags


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
