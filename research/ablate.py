"""A study of settings and seeds -> a table, and figures of every row.

python -m research.ablate STUDY.yaml --out ABLATION
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from protoanomalyncd.cli.console import console, progress_bars
from protoanomalyncd.cli.parser import ArgumentParser, guarded
from research.studies.ablation import RESULTS, TABLE, run_study
from research.studies.folders import ensure_folder
from research.studies.outcomes import Outcome, summarise
from research.studies.study import read_study

__all__ = ["ablate", "main"]


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
        f" --{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in instead.items()
        if value is not None
    ]
    command = f"python -m research.ablate {study}{''.join(given)} --out {out}"
    return f"# {study.stem}\n\nMean ± standard deviation over the seeds.\n\n```\n{command}\n```\n\n"


def _show(outcomes: list[Outcome]) -> None:
    table = Table("row", "seeds", "NMI", "ARI", "F1", "seconds")
    for s in summarise(outcomes):
        cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in (s.nmi, s.ari, s.f1)]
        table.add_row(s.row, str(s.n_seeds), *cells, f"{s.seconds:.0f}")
    console.print(table)


def build_parser() -> ArgumentParser:
    """Options of a study."""
    parser = ArgumentParser(
        prog="python -m research.ablate",
        description="Run every row of a study with every seed, and print means and spreads.\n"
        "Finished runs are kept: an interrupted study goes on when the same command is given\n"
        "again, and new rows or seeds join the old ones. Labels are for the metrics only.\n\n"
        "examples:\n"
        "  python -m research.ablate research/configs/ablations/guidance.yaml --out ABLATION\n"
        "  python -m research.ablate STUDY.yaml --images DATA/mtd --seeds 0 1 --out ABLATION",
    )
    parser.add_argument("study", type=Path, help="YAML file: data, seeds, base, rows or grid")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    for name, text in (
        ("images", "MVTec AD layout"),
        ("labelled", "known defects of other products"),
        ("maps", "anomaly maps of any detector"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=f"{text}; instead of the study's")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the study's")
    parser.add_argument("--no-figures", action="store_true", help="the table only")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; returns the exit status, see `guarded`."""

    def run() -> None:
        options = build_parser().parse_args(arguments)
        data = {name: getattr(options, name) for name in ("images", "labelled", "maps", "seeds")}
        ablate(options.study, options.out, data, not options.no_figures, options.quiet)

    return guarded(run, resumable=True)


if __name__ == "__main__":
    sys.exit(main())
