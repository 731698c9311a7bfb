"""``export.json``: what the surroundings of a graph must know; read and written without torch.

An export may come from anywhere, so nothing in its record is believed: every value is checked, and
only files beside it are opened, whose check sums it holds.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.checks import Range, check_types
from protoanomalyncd.core.errors import ModelFormatError, ProtoAnomalyNCDError
from protoanomalyncd.core.records import MapRange
from protoanomalyncd.regions.descriptors import DESCRIPTORS
from protoanomalyncd.storage.files import own_file, read_json, sha256_of

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
    counts_as: tuple[Annotated[int, Range(0)], ...]
    normal_class: Annotated[int, Range(0)] | None
    crop_size: Annotated[int, Range(1, 4096)]
    window: Annotated[int, Range(1)]
    embed_dim: Annotated[int, Range(1, 1_000_000)]
    descriptors: tuple[str, ...]
    map_range: MapRange
    maps_from: str
    coarse_smoothing: Annotated[float, Range(0, 100)]
    mebin: MEBinConfig
    crops: CropConfig
    merge_temperature: Annotated[float, Range(1e-9, 1e9)]
    outlier_score: str
    threshold: Annotated[float, Range(-1e30, 1e30)] | None
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
        ids = [c["id"] for c in classes]
        _require(0 < len(ids) <= _MOST_CLASSES, f"1 to {_MOST_CLASSES} classes", len(ids))
        numbered = all(type(k) is int for k in ids) and ids == list(range(len(ids)))
        _require(numbered, "classes: ids 0, 1, 2, ...", ids)
        rest.setdefault("coarse_smoothing", 0.0)  # exports of earlier versions
        rest["map_range"] = MapRange(**rest["map_range"])
        rest["mebin"] = MEBinConfig(**rest["mebin"])
        rest["crops"] = CropConfig(**rest["crops"])
        names, counts_as = ([c[key] for c in classes] for key in ("name", "counts_as"))
        record = cls(names=tuple(names), counts_as=tuple(counts_as), **rest)
        check_types(record, "")
        record._check()
        return record

    def _check(self) -> None:
        """Raise ValueError where values do not fit together."""
        last = len(self.names) - 1
        for name, ids in (("counts_as", self.counts_as), ("normal_class", (self.normal_class,))):
            worst = max(k or 0 for k in ids)
            _require(worst <= last, f"{name} from 0 to {last}", worst)
        _require(isinstance(self.files, dict), "files: names with their SHA-256", self.files)
        for name, expected in self.files.items():
            hexadecimal = isinstance(expected, str) and re.fullmatch("[0-9a-f]{64}", expected)
            _require(bool(hexadecimal), f"files: the SHA-256 of {name!r}", expected)
        _require(self.kind in GRAPHS, f"kind: one of {', '.join(GRAPHS)}", self.kind)
        wanted = GRAPHS[self.kind]
        _require(self.graph == wanted[0], f"graph: {wanted[0]}", self.graph)
        _require(set(self.files) == set(wanted), f"files: {', '.join(wanted)}", [*self.files])
        _require(self.window <= self.crop_size, "window: at most crop_size", self.window)
        known = self.descriptors in ((), DESCRIPTORS)
        _require(known, f"descriptors: none, or {', '.join(DESCRIPTORS)}", self.descriptors)
        _require(self.crops.size == self.crop_size, "crops.size: crop_size", self.crops.size)
        # Larger ones would take memory without end.
        _require(self.crops.margin <= 100, "crops.margin: at most 100", self.crops.margin)
        _require(self.mebin.erosion <= 4096, "mebin.erosion: at most 4096", self.mebin.erosion)


def _require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"expected {expected}; got {got!r}")


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
    path = own_file(folder, RECORD)
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
        if sha256_of(own_file(folder, name)) != expected:
            raise ModelFormatError(
                f"{folder / name}: expected the file that was exported, got another or a damaged "
                "one; copy it again"
            )
    return record
