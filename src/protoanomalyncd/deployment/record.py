"""``export.json``: what the surroundings of a graph must know; read and written without torch.

An export may come from anywhere, so nothing in its record is believed: every value is checked, and
only files beside it are opened, whose check sums it holds.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.errors import ModelFormatError, ProtoAnomalyNCDError
from protoanomalyncd.core.records import MapRange
from protoanomalyncd.regions.descriptors import DESCRIPTORS
from protoanomalyncd.storage.files import read_json, sha256_of

__all__ = ["EXPORT_FORMAT", "RECORD", "Record", "read_record"]

EXPORT_FORMAT: Final = 2
"""Version of the folder; raised when an older reader could not understand it."""

RECORD: Final = "export.json"

GRAPHS: Final[Mapping[str, tuple[str, ...]]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
}
"""Files of each format: the graph, and what is loaded with it."""

_LARGEST_RECORD = 10_000_000
_MOST_CLASSES = 10_000
_LARGEST_CROP = 4096
_LARGEST_WIDTH = 1_000_000
_QUOTED = 200
"""Characters of a foreign value that a message may repeat."""


@dataclass(frozen=True, slots=True)
class Record:
    """Everything beside the graph.

    Args:
        graph: file name of the graph.
        kind: ``onnx`` or ``openvino``.
        files: SHA-256 of the graph's files, by name.
        names: of the novel classes, as the model numbers them.
        counts_as: id of the class that each class was merged into (its own where it was not).
        normal_class: class reserved for normal images, None where there is none.
        crop_size: side S of the graph's crops [px].
        window: side of the central window that the network sees of them [px].
        embed_dim: width of the embedding.
        descriptors: names of the region descriptors that the graph takes, in order; none where they
            are no part of the embedding.
        map_range: on which anomaly maps are normalised.
        maps_from: registered name of the source whose maps the model was fitted on.
        coarse_smoothing: deviation of the Gaussian that smooths coarse maps [cells].
        mebin: how a map is binarised.
        crops: how regions are cut out.
        merge_temperature: T of the weights softmax(sqrt(area) / T) of an image's regions.
        outlier_score: registered name.
        threshold: rejects what scores higher; None = nothing.
        backbone: its name.
        version: of the package that wrote the folder.
    """

    graph: str
    kind: str
    files: Mapping[str, str]
    names: tuple[str, ...]
    counts_as: tuple[int, ...]
    normal_class: int | None
    crop_size: int
    window: int
    embed_dim: int
    descriptors: tuple[str, ...]
    map_range: MapRange
    maps_from: str
    coarse_smoothing: float
    mebin: MEBinConfig
    crops: CropConfig
    merge_temperature: float
    outlier_score: str
    threshold: float | None
    backbone: str
    version: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class; a merged class goes by the name of what it was merged into."""
        return tuple(self.names[k] for k in self.counts_as)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        values = dataclasses.asdict(self)
        names, counts_as = values.pop("names"), values.pop("counts_as")
        classes = [
            {"id": k, "name": name, "counts_as": target}
            for k, (name, target) in enumerate(zip(names, counts_as, strict=True))
        ]
        return {"format": EXPORT_FORMAT, "classes": classes, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """Inverse of `to_dict`, for values that may be anything.

        Raises:
            ProtoAnomalyNCDError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError:
                something is missing, of another kind, or out of range.
        """
        rest = {k: v for k, v in values.items() if k not in ("format", "classes")}
        classes = sorted(values["classes"], key=lambda c: c["id"])
        n_classes = len(classes)
        _require(0 < n_classes <= _MOST_CLASSES, f"1 to {_MOST_CLASSES} classes", n_classes)
        ids = [c["id"] for c in classes]
        _require(all(type(k) is int for k in ids), "classes: whole numbers as ids", ids)
        _require(ids == list(range(n_classes)), "classes: ids 0, 1, 2, ...", ids)
        for c in classes:
            _require(isinstance(c["name"], str), "classes: text as name", c["name"])
            _whole("classes: counts_as", c["counts_as"], 0, n_classes - 1)
        rest.setdefault("coarse_smoothing", 0.0)  # exports of earlier versions
        rest["descriptors"] = tuple(rest["descriptors"])
        rest["map_range"] = MapRange(**rest["map_range"])
        rest["mebin"] = MEBinConfig(**rest["mebin"])
        rest["crops"] = CropConfig(**rest["crops"])
        names, counts_as = ([c[key] for c in classes] for key in ("name", "counts_as"))
        record = cls(names=tuple(names), counts_as=tuple(counts_as), **rest)
        record._check()
        return record

    def _check(self) -> None:
        """Raise ValueError where a value makes no sense."""
        _require(self.kind in tuple(GRAPHS), f"kind: one of {', '.join(GRAPHS)}", self.kind)
        _require(isinstance(self.files, dict), "files: names with their SHA-256", self.files)
        for name, expected in self.files.items():
            _require(_is_bare(name), "files: names of files in this folder", name)
            hexadecimal = isinstance(expected, str) and re.fullmatch("[0-9a-f]{64}", expected)
            _require(bool(hexadecimal), f"files: the SHA-256 of {name!r}", expected)
        wanted = GRAPHS[self.kind]
        _require(self.graph == wanted[0], f"graph: {wanted[0]}", self.graph)
        _require(set(self.files) == set(wanted), f"files: {', '.join(wanted)}", [*self.files])
        if self.normal_class is not None:
            _whole("normal_class", self.normal_class, 0, len(self.names) - 1)
        _whole("crop_size", self.crop_size, 1, _LARGEST_CROP)
        _whole("window", self.window, 1, self.crop_size)
        _whole("embed_dim", self.embed_dim, 1, _LARGEST_WIDTH)
        known = self.descriptors in ((), DESCRIPTORS)
        _require(known, f"descriptors: none, or {', '.join(DESCRIPTORS)}", self.descriptors)
        _number("coarse_smoothing", self.coarse_smoothing, 0, 100)
        _require(self.crops.size == self.crop_size, "crops.size: crop_size", self.crops.size)
        # Larger ones would take memory without end.
        _number("crops.margin", self.crops.margin, 0, 100)
        _whole("mebin.erosion", self.mebin.erosion, 0, _LARGEST_CROP)
        _number("merge_temperature", self.merge_temperature, 1e-9, 1e9)
        if self.threshold is not None:
            _number("threshold", self.threshold, -1e30, 1e30)
        for name in ("maps_from", "outlier_score", "backbone", "version"):
            value = getattr(self, name)
            _require(isinstance(value, str), f"{name}: text", value)


def _require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"expected {expected}; got {got!r}")


def _whole(name: str, value: object, low: int, high: int) -> None:
    fits = type(value) is int and low <= value <= high
    _require(fits, f"{name} from {low} to {high}", value)


def _number(name: str, value: object, low: float, high: float) -> None:
    fits = type(value) in (int, float) and math.isfinite(value) and low <= value <= high  # type: ignore[arg-type,operator]
    _require(fits, f"{name} from {low:g} to {high:g}", value)


def _is_bare(name: str) -> bool:
    """Whether this is a file's name alone, on any system."""
    own = PurePosixPath(name).name == PureWindowsPath(name).name == name
    return own and name not in ("", "..") and "\0" not in name


def read_record(folder: Path) -> Record:
    """Read ``export.json`` and check that the graph's files are those that were written.

    Raises:
        ModelFormatError: the folder is no export, is incomplete, damaged, or of another version.
    """
    if not (folder / RECORD).is_file():
        hint = " (a model's own folder; run `protoanomalyncd export` on it)"
        raise ModelFormatError(
            f"{folder}: expected an exported model with {RECORD} in it, which is missing"
            f"{hint if (folder / 'model.json').is_file() else ''}"
        )
    path = _inside(folder, RECORD)
    if path.stat().st_size > _LARGEST_RECORD:
        raise ModelFormatError(
            f"{path}: expected at most {_LARGEST_RECORD} bytes, got {path.stat().st_size}; "
            "export again"
        )
    try:
        values = read_json(path)
        version = repr(values.get("format"))
        record = Record.from_dict(values) if version == str(EXPORT_FORMAT) else None
    except ModelFormatError:
        raise
    except (
        ProtoAnomalyNCDError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,  # too deeply nested
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_QUOTED]
        raise ModelFormatError(
            f"{path}: expected a complete record, got {reason}; export again"
        ) from error
    if record is None:
        raise ModelFormatError(
            f"{path}: expected format {EXPORT_FORMAT}, got {version[:_QUOTED]}; "
            "use the version of the package that wrote it, or export again"
        )
    for name, expected in record.files.items():
        if sha256_of(_inside(folder, name)) != expected:
            raise ModelFormatError(
                f"{folder / name}: expected the file that was exported, got another or a damaged "
                "one; copy it again"
            )
    return record


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; a link may not lead out of it.

    Raises:
        ModelFormatError: it is missing, is no regular file, or lies elsewhere.
    """
    path = folder / name
    if not path.is_file():
        raise ModelFormatError(f"{folder}: expected {name} in it, which is missing")
    if path.resolve().parent != folder.resolve():
        raise ModelFormatError(
            f"{path}: expected a file of this folder, got a link to another; copy the file itself"
        )
    return path
