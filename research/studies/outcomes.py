"""What the runs of a study gave: one record a run, a table of means and spreads."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from protoanomalyncd.storage.files import write_text

__all__ = ["Outcome", "Summary", "markdown_table", "summarise", "write_results"]


@dataclass(frozen=True)
class Outcome:
    """One run.

    Args:
        row: name of the row.
        seed: of the run.
        nmi: normalised mutual information of images, in [0, 1].
        ari: adjusted Rand index, at most 1.
        f1: micro-F1 after Hungarian matching, in [0, 1].
        n_images: that have a true class.
        seconds: wall clock, without what an earlier run had computed [s].
    """

    row: str
    seed: int
    nmi: float
    ari: float
    f1: float
    n_images: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """One row over its seeds: mean and standard deviation (0 for a single seed)."""

    row: str
    n_seeds: int
    nmi: tuple[float, float]
    ari: tuple[float, float]
    f1: tuple[float, float]
    seconds: float


def summarise(outcomes: Sequence[Outcome]) -> list[Summary]:
    """One summary a row, in the order of first appearance."""
    rows: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.row, []).append(outcome)
    return [
        Summary(
            name,
            len(runs),
            _spread([run.nmi for run in runs]),
            _spread([run.ari for run in runs]),
            _spread([run.f1 for run in runs]),
            statistics.mean(run.seconds for run in runs),
        )
        for name, runs in rows.items()
    ]


def markdown_table(outcomes: Sequence[Outcome]) -> str:
    """Mean ± standard deviation over the seeds, a line a row."""
    lines = ["| row | seeds | NMI | ARI | F1 | seconds |", "|---|---|---|---|---|---|"]
    for s in summarise(outcomes):
        figures = " | ".join(f"{m:.3f} ± {d:.3f}" for m, d in (s.nmi, s.ari, s.f1))
        lines.append(f"| {s.row} | {s.n_seeds} | {figures} | {s.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def write_results(path: Path, outcomes: Sequence[Outcome]) -> None:
    """One line a run, as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [f.name for f in fields(Outcome)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(outcome) for outcome in outcomes)
    write_text(path, buffer.getvalue())


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
