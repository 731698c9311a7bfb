"""Writing a data set's folder whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from protoanomalyncd.core.errors import ImageError, OutputError
from protoanomalyncd.core.records import ImageArray, MaskArray
from protoanomalyncd.storage.files import write_json
from protoanomalyncd.storage.staged_folder import StagedFolder

__all__ = ["MARKER", "PrepareSummary", "build_folder", "copy_file", "write_image", "write_mask"]

MARKER = "prepared.json"
"""File that says what a prepared folder holds; written last, so that it means "complete"."""


@dataclass(frozen=True, slots=True)
class PrepareSummary:
    """What a prepared folder holds.

    Args:
        data_set: its name, as in `PREPARERS`.
        root: the folder written.
        counts: images in each of its folders.
        left_out: images of the source that are not used, by reason.
        reused: the folder was there already and was left as it was.
    """

    data_set: str
    root: Path
    counts: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    reused: bool = False

    def __str__(self) -> str:
        """One line for a person."""
        held = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        gone = "".join(f"; left out: {n} ({reason})" for reason, n in self.left_out.items())
        return f"{self.root}: {held}{gone}{' (already there)' if self.reused else ''}"


def build_folder(
    out: Path,
    identity: Mapping[str, Any],
    fill: Callable[[Path], tuple[dict[str, int], dict[str, int]]],
) -> PrepareSummary:
    """Fill a folder that appears only when it is complete.

    A finished folder of the same identity is left alone.

    Args:
        out: the folder to make; may exist if empty.
        identity: JSON values that say what the folder holds; ``data_set`` is its name.
        fill: writes into the folder that it is given; returns counts and what was left out.

    Raises:
        OutputError: `out` holds something else, or cannot be written.
    """
    identity = json.loads(json.dumps(dict(identity)))
    done = _finished(out, identity)
    if done is not None:
        return done
    with StagedFolder(out, marker=MARKER, what="folder") as staged:
        counts, left_out = fill(staged.results)
        record = {**identity, "counts": counts, "left_out": left_out}
        write_json(staged.results / MARKER, record)
    return PrepareSummary(str(identity["data_set"]), out, counts, left_out)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, making its folder; contents only, so that the copy is writable.

    Raises:
        ImageError: the source cannot be read. (A failure to write is an OSError.)
    """
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ImageError(f"{source}: expected a readable file, got: {error.strerror}") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def write_image(path: Path, image: ImageArray) -> None:
    """Write an RGB image ``(H, W, 3)`` as PNG, making its folder."""
    _write_png(path, np.ascontiguousarray(image[..., ::-1]))


def write_mask(path: Path, mask: MaskArray) -> None:
    """Write a mask ``(H, W)`` as PNG with 0 and 255, making its folder."""
    _write_png(path, mask.astype(np.uint8) * np.uint8(255))


def _write_png(path: Path, pixels: ImageArray) -> None:
    # Encoded in memory: OpenCV's own writer fails silently, and not on every path.
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise OutputError(f"{path}: expected to encode a PNG, got a failure of the encoder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def _finished(out: Path, identity: Mapping[str, Any]) -> PrepareSummary | None:
    """Summary of a finished folder of this identity; None where there is none at all.

    Raises:
        OutputError: `out` was prepared from something else.
    """
    if not (out / MARKER).is_file():
        return None
    try:
        record = json.loads((out / MARKER).read_text(encoding="utf-8"))
        held = {key: record.get(key) for key in identity}
        counts, left_out = dict(record["counts"]), dict(record["left_out"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        held, counts, left_out = {}, {}, {}
    if held != identity:
        raise OutputError(
            f"{out}: expected a new or empty folder, got one prepared before from other data or "
            "settings; delete it or choose another folder"
        )
    return PrepareSummary(str(identity["data_set"]), out, counts, left_out, reused=True)
