"""`protoanomalyncd ablate`: a study of settings and seeds -> a table, and figures of every row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from protoanomalyncd.cli.console import console, progress_bars
from protoanomalyncd.storage.files import ensure_folder
from research.studies.ablation import RESULTS, TABLE, run_study
from research.studies.outcomes import Outcome, summarise
from research.studies.study import read_study

__all__ = ["ablate"]


def ablate(
    study: Path, out: Path, instead: Mapping[str, Any], figures: bool = True, quiet: bool = False
) -> list[Outcome]:
    """Run a study into a folder.

    Args:
        study: YAML file, see `read_study`.
        out: folder of the results; finished runs in it are not repeated.
        instead: data and seeds that replace the study's; None = the study's.
        figures: draw attention and t-SNE of each row, for the first seed.
        quiet: no progress bars.
    """
    from research.studies.figures import RowFigures

    chosen = read_study(study, **instead)
    ensure_folder(out)
    draw = RowFigures(out / "figures", chosen.seeds[0]) if figures else None
    with progress_bars(quiet) as on_progress:
        outcomes = run_study(chosen, out, on_progress, draw, _heading(study, out, instead))
    _show(outcomes)
    console.print(f"tables: {out / TABLE}, {out / RESULTS}", soft_wrap=True)
    return outcomes


def _heading(study: Path, out: Path, instead: Mapping[str, Any]) -> str:
    given = [
        f" --{name} '{value}'" if isinstance(value, list) else f" --{name} {value}"
        for name, value in instead.items()
        if value is not None
    ]
    command = f"protoanomalyncd ablate {study}{''.join(given)} --out {out}"
    return f"# {study.stem}\n\nMean ± standard deviation over the seeds.\n\n```\n{command}\n```\n\n"


def _show(outcomes: list[Outcome]) -> None:
    table = Table("row", "seeds", "NMI", "ARI", "F1", "seconds")
    for s in summarise(outcomes):
        cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in (s.nmi, s.ari, s.f1)]
        table.add_row(s.row, str(s.n_seeds), *cells, f"{s.seconds:.0f}")
    console.print(table)
