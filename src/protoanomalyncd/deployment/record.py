"""``export.json``: what the surroundings of a graph must know; read and written without torch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.errors import ModelFormatError, ProtoAnomalyNCDError
from protoanomalyncd.core.records import MapRange
from protoanomalyncd.storage.files import read_json

__all__ = ["EXPORT_FORMAT", "RECORD", "Record", "digest", "read_record"]

EXPORT_FORMAT: Final = 1
"""Version of the folder; raised when an older reader could not understand it."""

RECORD: Final = "export.json"


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
        mask_only: the binary mask alone guides, without the scores of the map.
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
    mask_only: bool
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
        """Inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of another kind.
        """
        rest = {k: v for k, v in values.items() if k not in ("format", "classes")}
        classes = sorted(values["classes"], key=lambda c: c["id"])
        names = tuple(str(c["name"]) for c in classes)
        counts_as = tuple(int(c["counts_as"]) for c in classes)
        if [c["id"] for c in classes] != list(range(len(names))) or not classes:
            raise ValueError("classes: expected ids 0, 1, 2, ...")
        if not all(0 <= k < len(names) for k in counts_as):
            raise ValueError(f"classes: expected counts_as from 0 to {len(names) - 1}")
        rest["descriptors"] = tuple(str(name) for name in rest["descriptors"])
        rest.setdefault("coarse_smoothing", 0.0)  # exports of earlier versions
        rest["map_range"] = MapRange(**rest["map_range"])
        rest["mebin"] = MEBinConfig(**rest["mebin"])
        rest["crops"] = CropConfig(**rest["crops"])
        return cls(names=names, counts_as=counts_as, **rest)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    values = read_json(folder / RECORD)
    if values.get("format") != EXPORT_FORMAT:
        raise ModelFormatError(
            f"{folder / RECORD}: expected format {EXPORT_FORMAT}, got {values.get('format')!r}; "
            "use the version of the package that wrote it, or export again"
        )
    try:
        record = Record.from_dict(values)
    except (ProtoAnomalyNCDError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelFormatError(
            f"{folder / RECORD}: expected a complete record, got {reason}; export again"
        ) from error
    for name, expected in record.files.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise ModelFormatError(f"{folder}: expected {name} in it, which is missing")
        if digest(path) != expected:
            raise ModelFormatError(
                f"{path}: expected the file that was exported, got another or a damaged one; "
                "copy it again"
            )
    return record
