"""Names of the public data sets that can be prepared."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Protocol

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.datasets.aebad import prepare_aebad
from protoanomalyncd.datasets.mtd import prepare_mtd
from protoanomalyncd.datasets.neu_seg import prepare_neu_seg
from protoanomalyncd.datasets.real_iad import prepare_real_iad
from protoanomalyncd.datasets.staging import PrepareSummary

__all__ = ["PREPARERS", "Preparer", "prepare"]


class Preparer(Protocol):
    """Turns the published folder of a data set into a layout that can be loaded."""

    def __call__(self, source: str | Path, out: str | Path) -> PrepareSummary:
        """Read `source`, write `out` whole or not at all, say what it holds."""
        ...


PREPARERS: dict[str, Preparer] = {
    "aebad": prepare_aebad,
    "mtd": prepare_mtd,
    "neu_seg": prepare_neu_seg,
    "real_iad": prepare_real_iad,
}
"""Preparer by name; the first line of its docstring describes it."""


def prepare(
    name: str, source: str | Path, out: str | Path, **options: str | None
) -> PrepareSummary:
    """Run a preparer with those of the options that are given.

    Args:
        name: one of `PREPARERS`.
        source: the published folder.
        out: folder to write.
        **options: further arguments, such as ``category``; None = not given.

    Raises:
        ConfigurationError: this preparer does not take an option that was given.
        InputError: see the preparer.
        OutputError: see the preparer.
    """
    preparer = PREPARERS[name]
    given = {key: value for key, value in options.items() if value is not None}
    takes = inspect.signature(preparer).parameters
    for key, value in given.items():
        if key not in takes:
            raise ConfigurationError(
                f"--{key}: expected none for the data set {name}, got {value!r}; leave it out"
            )
    return preparer(source, out, **given)
