"""`predictions.csv` and `regions.csv`: the results for other programs.

RFC 4180 (comma, double quotes where needed, CRLF), UTF-8 without a byte order mark, floats with
six decimals, rows in the order of the `Discovery`; the same result gives the same bytes.

Names are written exactly as they are, also those that begin with ``=``, ``+``, ``-`` or ``@``:
other programs join on them, and a camera that numbers its files ``-3.png`` must find them again.
A spreadsheet may take such a cell for a formula; ``docs/how_to/report.md`` says how to import.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from protoanomalyncd.core.errors import InputError, reason, shown
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.storage.files import write_bytes

__all__ = [
    "PREDICTION_COLUMNS",
    "REGION_COLUMNS",
    "PredictionRow",
    "read_predictions",
    "write_predictions",
    "write_regions",
]

PREDICTION_COLUMNS = (
    "image",
    "class_id",
    "class",
    "confidence",
    "outlier_score",
    "anomaly_score",
    "n_regions",
    "true_class",
)
REGION_COLUMNS = (
    "image",
    "region",
    "x0",
    "y0",
    "x1",
    "y1",
    "crop_x0",
    "crop_y0",
    "crop_x1",
    "crop_y1",
    "area",
    "score",
    "whole_image",
    "class_id",
    "class",
    "confidence",
    "outlier_score",
)
"""The fixed columns; one column a descriptor follows, in alphabetical order.

A descriptor whose name is taken above gets ``descriptor_`` before it.
"""


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One row of ``predictions.csv``; the fields are its columns, `class_name` is ``class``."""

    image: str
    class_id: int
    class_name: str
    confidence: float
    outlier_score: float
    anomaly_score: float
    n_regions: int
    true_class: str | None


def write_predictions(path: Path, discovery: Discovery) -> Path:
    """Write one row an image; ``true_class`` is empty where it is unknown.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = (
        (
            image.name,
            image.class_id,
            discovery.class_name(image.class_id),
            _decimal(image.confidence),
            _decimal(image.outlier_score),
            _decimal(image.anomaly_score),
            image.n_regions,
            image.true_class or "",
        )
        for image in discovery.images
    )
    return _write(path, PREDICTION_COLUMNS, rows)


def write_regions(path: Path, discovery: Discovery) -> Path:
    """Write one row a region; boxes are in pixels of the original image, ends exclusive.

    A descriptor that a region lacks is an empty cell.

    Raises:
        OutputError: the file cannot be written.
    """
    names = sorted({name for result in discovery.regions for name in result.descriptors})
    rows = (
        (
            result.region.image,
            result.region.index,
            *result.region.box,
            *result.region.crop_box,
            _decimal(result.region.area),
            _decimal(result.region.score),
            int(result.region.whole_image),
            result.class_id,
            discovery.class_name(result.class_id),
            _decimal(result.confidence),
            _decimal(result.outlier_score),
            *(_optional(result.descriptors.get(name)) for name in names),
        )
        for result in discovery.regions
    )
    titles = (f"descriptor_{name}" if name in REGION_COLUMNS else name for name in names)
    return _write(path, (*REGION_COLUMNS, *titles), rows)


def read_predictions(path: Path) -> list[PredictionRow]:
    """Inverse of `write_predictions`, up to the sixth decimal.

    Raises:
        InputError: the file is absent, has other columns, or holds something unreadable.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; expected a predictions.csv"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(reader, [])
        if tuple(header) != PREDICTION_COLUMNS:
            expected, found = ", ".join(PREDICTION_COLUMNS), shown(", ".join(header) or "nothing")
            raise InputError(f"{path}: expected the columns {expected}; got {found}")
        return [_parse(path, reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: expected 8 readable values ({reason(error)})"
        ) from error


def _parse(path: Path, line: int, row: Sequence[str]) -> PredictionRow:
    try:
        image, class_id, name, confidence, outlier, anomaly, n_regions, true_class = row
        return PredictionRow(
            image=image,
            class_id=int(class_id),
            class_name=name,
            confidence=float(confidence),
            outlier_score=float(outlier),
            anomaly_score=float(anomaly),
            n_regions=int(n_regions),
            true_class=true_class or None,
        )
    except ValueError as error:
        raise InputError(
            f"{path}, line {line}: expected 8 readable values ({reason(error)})"
        ) from error


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(Path(path), buffer.getvalue().encode("utf-8", "surrogateescape"))
    return Path(path)


def _decimal(value: float) -> str:
    text = f"{value:.6f}"
    return "0.000000" if text == "-0.000000" else text


def _optional(value: float | None) -> str:
    return "" if value is None else _decimal(value)
