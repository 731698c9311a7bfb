"""Names of the public data sets that can be prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from protoanomalyncd.datasets.mtd import prepare_mtd
from protoanomalyncd.datasets.neu_seg import prepare_neu_seg
from protoanomalyncd.datasets.staging import PrepareSummary

__all__ = ["PREPARERS", "Preparer"]


class Preparer(Protocol):
    """Turns the published folder of a data set into a layout that can be loaded."""

    def __call__(self, source: str | Path, out: str | Path) -> PrepareSummary:
        """Read `source`, write `out` whole or not at all, say what it holds."""
        ...


PREPARERS: dict[str, Preparer] = {"mtd": prepare_mtd, "neu_seg": prepare_neu_seg}
"""Preparer by name; the first line of its docstring describes it."""
