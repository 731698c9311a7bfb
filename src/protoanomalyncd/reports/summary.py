"""What was found, in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from protoanomalyncd.core.records import CountEstimate, Discovery
from protoanomalyncd.reports.classes import summarise_classes
from protoanomalyncd.reports.words import level, percent

__all__ = ["count_line", "summary_table"]


def summary_table(discovery: Discovery, descriptions: Mapping[int, str] | None = None) -> Table:
    """One row a class, largest first, then the outliers, the normal class last.

    Args:
        discovery: what was found.
        descriptions: class id -> a few plain words; the column is left out without them.
    """
    table = Table(title=None, header_style="bold")
    table.add_column("class", overflow="fold")
    if descriptions:
        table.add_column("description", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column("regions", justify="right")
    table.add_column("mean confidence", justify="right")
    for row in summarise_classes(discovery, descriptions or {}):
        cells = [Text(row.name)]
        if descriptions:
            cells.append(Text(row.description))
        sure = f"{level(row.confidence)}, {percent(row.confidence)}" if row.images else "–"
        cells += [Text(f"{len(row.images):,}"), Text(f"{row.n_regions:,}"), Text(sure)]
        table.add_row(*cells)
    return table


def count_line(count: CountEstimate) -> str:
    """One line on how many classes were found, and how to say otherwise."""
    normal = ", normal included" if count.with_normal else ""
    first, last = count.candidates[0], count.candidates[-1]
    return (
        f"number of classes: estimated {count.n_classes}{normal}, out of {first} to {last} "
        "(you can set it with --n_novel_classes)"
    )
