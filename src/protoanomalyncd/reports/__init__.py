"""Room 6, people: what was found, as a page, a terminal table and two CSV files.

* `write_report` makes ``report.html``: one self-contained file that opens offline by a double
  click and tells, without any knowledge of the method, which kinds of defect there are, how many
  of each, and how sure the model is. It takes a `ReportData`.
* `summary_table` is the same in ten lines for the terminal.
* `write_predictions` and `write_regions` make ``predictions.csv`` and ``regions.csv``;
  `read_predictions` reads the former back.

Everything here only reads a `Discovery`; nothing decides anything. Files appear whole or not at
all: each is written beside its place and renamed.

Example::

    report = ReportData(
        discovery=found,
        title="Line 4, week 46",
        load_image=lambda name: read_rgb(root / name),
        load_map=lambda name: maps[name],
        load_mask=lambda name: masks[name],
        descriptions={1: "small, round, darker than its surroundings"},
        settings={"seed": 0, "backbone": "embedded"},
    )
    write_report(Path("report.html"), report)
    write_predictions(Path("predictions.csv"), found)
"""

from protoanomalyncd.reports.data import ReportData
from protoanomalyncd.reports.page import render_report, write_report
from protoanomalyncd.reports.summary import summary_table
from protoanomalyncd.reports.tables import (
    PredictionRow,
    read_predictions,
    write_predictions,
    write_regions,
)

__all__ = [
    "PredictionRow",
    "ReportData",
    "read_predictions",
    "render_report",
    "summary_table",
    "write_predictions",
    "write_regions",
    "write_report",
]
