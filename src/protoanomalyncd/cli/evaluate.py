"""`protoanomalyncd evaluate`: the metrics again, from what a run saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from protoanomalyncd.cli.console import console
from protoanomalyncd.core.errors import DatasetError, shown
from protoanomalyncd.discovery.metrics import ClusterMetrics, SplitAccuracy, split_accuracy
from protoanomalyncd.discovery.metrics import evaluate as compare
from protoanomalyncd.reports.tables import read_predictions
from protoanomalyncd.storage import names
from protoanomalyncd.storage.files import read_json, write_json

__all__ = ["evaluate"]

_MOST_SHOWN = 60
"""Classes up to which the table of counts is printed."""


def evaluate(
    run: Path, json: Path | None = None, known: Sequence[str] | None = None
) -> ClusterMetrics:
    """Compare the saved predictions with the saved true classes.

    Args:
        run: folder of a run or of predictions.
        json: also write the metrics to this file.
        known: true classes that were labelled; None = what the run says of its labelled set.

    Raises:
        DatasetError: there are no predictions, or no image has a true class.
    """
    path = run / names.PREDICTIONS
    if not path.is_file():
        raise DatasetError(
            f"{run}: expected {names.PREDICTIONS} in it (a folder made by discover or predict)"
        )
    rows = [row for row in read_predictions(path) if row.true_class is not None]
    if not rows:
        raise DatasetError(f"{path}: expected true classes to compare with, but no image has one")
    true, found = [str(row.true_class) for row in rows], [row.class_id for row in rows]
    metrics = compare(true, found)
    known = _known_of(run) if known is None else known
    split = split_accuracy(true, found, known) if set(true) & set(known) else None
    _show(metrics, {row.class_id: row.class_name for row in rows})
    if split is not None:
        _show_split(split)
    if json is not None:
        values = None if split is None else dataclasses.asdict(split)
        write_json(json, metrics.to_dict() | {"split_accuracy": values})
    return metrics


def _known_of(run: Path) -> list[str]:
    """Names of the labelled classes; none in a folder of predictions, which does not know them."""
    path = run / names.METRICS
    known = read_json(path).get("known_classes", []) if path.is_file() else []
    if not isinstance(known, list) or not all(isinstance(name, str) for name in known):
        raise DatasetError(
            f"{path}: expected known_classes to be a list of names, got {shown(known)}; give them "
            "by --known"
        )
    return known


def _show_split(split: SplitAccuracy) -> None:
    shown = {"all": split.all, "old (labelled)": split.old, "new": split.new}
    parts = [f"{name} {value:.3f}" for name, value in shown.items() if value is not None]
    console.print(f"accuracy over all classes, matched once: {', '.join(parts)}")


def _show(metrics: ClusterMetrics, class_names: dict[int, str]) -> None:
    console.print(
        f"{metrics.n_samples} images, {metrics.n_classes_true} true classes, "
        f"{metrics.n_classes_found} found: "
        f"NMI {metrics.nmi:.3f}, ARI {metrics.ari:.3f}, F1 {metrics.f1:.3f}"
    )
    if max(len(metrics.classes), len(metrics.found)) > _MOST_SHOWN:
        console.print(
            f"the table of {len(metrics.classes)} true and {len(metrics.found)} found classes is "
            "not shown; --json FILE writes it"
        )
        return
    table = Table(title="true classes (rows) in found classes (columns); * = matched")
    table.add_column("true class")
    for class_id in metrics.found:
        table.add_column(_text(class_names.get(class_id, "outlier")), justify="right")
    for name, counts in zip(metrics.classes, metrics.confusion, strict=True):
        cells = [
            f"{count}{'*' if metrics.matching.get(class_id) == name else ''}"
            for class_id, count in zip(metrics.found, counts, strict=True)
        ]
        table.add_row(_text(str(name)), *cells)
    console.print(table)


def _text(name: str) -> str:
    """A name for the console, whatever is in it: no markup, valid text, not too long."""
    return escape(shown(name.encode("utf-8", "backslashreplace").decode(), 80))
