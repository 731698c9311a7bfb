"""The comparison with the truth: a confusion table and three numbers in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    metrics = report.metrics
    counts = Counter(
        (image.true_class, image.class_id)
        for image in report.discovery.images
        if image.true_class is not None
    )
    if not counts and metrics is None:
        return None
    matching = {} if metrics is None else {k: str(name) for k, name in metrics.matching.items()}
    used = {class_id for _, class_id in counts}
    columns = tuple(s for s in summaries if s.class_id in used)
    rows = tuple(
        _row(name, columns, counts, matching) for name in _ordered(counts, columns, matching)
    )
    n_true, n_found = len(rows), sum(c.class_id != OUTLIER for c in columns)
    if metrics is not None:
        n_true, n_found = metrics.n_classes_true, metrics.n_classes_found
    return Truth(
        metrics=tuple(
            Metric(key, label, f"{getattr(metrics, key):.2f}", sentence)
            for key, (label, sentence) in _SENTENCES.items()
            if metrics is not None
        ),
        columns=columns,
        rows=rows,
        column_totals=tuple(sum(r.cells[i].count for r in rows) for i in range(len(columns))),
        n_true=n_true,
        n_found=n_found,
        matching=matching,
        n_unknown=len(report.discovery.images) - sum(counts.values()),
    )


def _ordered(
    counts: Counter[tuple[str, int]],
    columns: Sequence[ClassSummary],
    matching: Mapping[int, str],
) -> list[str]:
    """True types in the order of the columns they are paired with, so that pairs lie diagonal."""
    place = {matching[c.class_id]: i for i, c in enumerate(columns) if c.class_id in matching}
    types = {name for name, _ in counts}
    return sorted(types, key=lambda name: (place.get(name, len(columns)), name))


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
