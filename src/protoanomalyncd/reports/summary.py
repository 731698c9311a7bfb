"""What was found, in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from protoanomalyncd.reports.classes import summarise_classes
from protoanomalyncd.reports.words import level, percent
from protoanomalyncd.structures import Discovery

__all__ = ["summary_table"]


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
