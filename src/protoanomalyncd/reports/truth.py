"""The comparison with the truth: a confusion table and three numbers in plain words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from protoanomalyncd.core.records import OUTLIER
from protoanomalyncd.reports.classes import ClassSummary
from protoanomalyncd.reports.data import ReportData

__all__ = ["Cell", "Metric", "Row", "Truth", "build_truth"]

_SENTENCES = {
    "f1": (
        "Images in the right kind (F1)",
        "Share of images whose kind is the one that stands for their true type, after each found "
        "kind was paired with one true type as well as possible.",
    ),
    "nmi": (
        "Agreement (NMI)",
        "How much the found kind of an image tells about its true type: 0 is nothing, 1 is "
        "everything.",
    ),
    "ari": (
        "Pairs told apart (ARI)",
        "How often two images are rightly put together or rightly kept apart, less what luck "
        "alone would give: 0 is luck, 1 is perfect.",
    ),
}


@dataclass(frozen=True)
class Metric:
    """A number with its name and one sentence."""

    key: str
    label: str
    value: str
    sentence: str


@dataclass(frozen=True)
class Cell:
    """Images of one true type in one found class.

    Args:
        count: number of images.
        share: of the true type's images, in [0, 1].
        matched: the class was paired with this type.
    """

    count: int
    share: float
    matched: bool


@dataclass(frozen=True)
class Row:
    """One true type over all found classes."""

    name: str
    cells: tuple[Cell, ...]
    total: int


@dataclass(frozen=True)
class Truth:
    """Section 4 of the page."""

    metrics: tuple[Metric, ...]
    columns: tuple[ClassSummary, ...]
    rows: tuple[Row, ...]
    column_totals: tuple[int, ...]
    n_true: int
    n_found: int
    matching: Mapping[int, str]
    n_unknown: int


def build_truth(report: ReportData, summaries: Sequence[ClassSummary]) -> Truth | None:
    """None where neither metrics nor any true class is known."""
    metrics = report.metrics or {}
    counts = _counts(report, metrics)
    if not counts and not metrics:
        return None
    matching = {
        class_id: str(true)
        for key, true in _pairs(metrics.get("matching"))
        if (class_id := _class_id(report, key)) is not None
    }
    used = {class_id for _, class_id in counts}
    columns = tuple(s for s in summaries if s.class_id in used)
    rows = tuple(
        _row(name, columns, counts, matching) for name in _ordered(counts, columns, matching)
    )
    return Truth(
        metrics=tuple(m for key in _SENTENCES if (m := _metric(key, metrics.get(key))) is not None),
        columns=columns,
        rows=rows,
        column_totals=tuple(sum(r.cells[i].count for r in rows) for i in range(len(columns))),
        n_true=_number(metrics.get("n_classes_true"), len(rows)),
        n_found=_number(
            metrics.get("n_classes_found"), sum(c.class_id != OUTLIER for c in columns)
        ),
        matching=matching,
        n_unknown=len(report.discovery.images) - sum(counts.values()),
    )


def _types(counts: Counter[tuple[str, int]]) -> list[str]:
    return sorted({name for name, _ in counts})


def _ordered(
    counts: Counter[tuple[str, int]],
    columns: Sequence[ClassSummary],
    matching: Mapping[int, str],
) -> list[str]:
    """True types in the order of the columns they are paired with, so that pairs lie diagonal."""
    place = {matching[c.class_id]: i for i, c in enumerate(columns) if c.class_id in matching}
    return sorted(_types(counts), key=lambda name: (place.get(name, len(columns)), name))


def _row(
    name: str,
    columns: Sequence[ClassSummary],
    counts: Counter[tuple[str, int]],
    matching: Mapping[int, str],
) -> Row:
    numbers = [counts[name, c.class_id] for c in columns]
    total = sum(numbers)
    cells = tuple(
        Cell(n, n / total if total else 0.0, matching.get(c.class_id) == name)
        for n, c in zip(numbers, columns, strict=True)
    )
    return Row(name, cells, total)


def _counts(report: ReportData, metrics: Mapping[str, object]) -> Counter[tuple[str, int]]:
    """(true class, found class id) -> images; from the metrics, else from the images."""
    counts: Counter[tuple[str, int]] = Counter()
    table, true_names, found_ids = (metrics.get(k) for k in ("confusion", "classes", "found"))
    if _is_list(table) and _is_list(true_names) and _is_list(found_ids):
        for name, row in zip(true_names, table, strict=True):
            for key, number in zip(found_ids, row, strict=True):
                class_id = _class_id(report, key)
                if class_id is not None and number:
                    counts[str(name), class_id] += int(number)
        return counts
    return Counter(
        (image.true_class, image.class_id)
        for image in report.discovery.images
        if image.true_class is not None
    )


def _class_id(report: ReportData, key: object) -> int | None:
    """A found class by its name or its id."""
    names = report.discovery.class_names
    if key in names:
        return names.index(str(key))
    if key == "outlier":
        return OUTLIER
    try:
        class_id = int(str(key))
    except ValueError:
        return None
    return class_id if OUTLIER <= class_id < len(names) else None


def _pairs(matching: object) -> list[tuple[object, object]]:
    """The matching as (found, true), from a mapping or from a list of pairs."""
    if isinstance(matching, Mapping):
        return list(matching.items())
    if not _is_list(matching):
        return []
    return [(pair["found"], pair["class"]) for pair in matching]


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _number(value: object, default: int) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else default


def _metric(key: str, value: object) -> Metric | None:
    if not isinstance(value, int | float):
        return None
    label, sentence = _SENTENCES[key]
    return Metric(key, label, f"{value:.2f}", sentence)
