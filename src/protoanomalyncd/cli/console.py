"""What the commands share: the console, progress bars, the log file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from protoanomalyncd.core.records import Progress as OnProgress
    from protoanomalyncd.core.records import Skipped

__all__ = ["console", "logger", "logging_to", "progress_bars", "show_notes", "show_skipped"]

console = Console(highlight=False)
logger = logging.getLogger("protoanomalyncd")


@contextmanager
def progress_bars(quiet: bool = False) -> Iterator[OnProgress]:
    """One bar a stage; a line in the log when a stage is complete."""
    bars = Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=quiet,
    )
    tasks: dict[str, TaskID] = {}
    with bars:

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)
            if done == total:
                logger.info("%s: %d done", stage, total)

        yield on_progress


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Append the package's log to a file while the block runs."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def show_skipped(skipped: Sequence[Skipped]) -> None:
    """List what was left out, and why."""
    _show("skipped", skipped, 10, "more; see the report")


def show_notes(notes: Sequence[Skipped]) -> None:
    """List what was used with a reservation, and which."""
    _show("note", notes, 3, "more such; see the report")


def _show(kind: str, found: Sequence[Skipped], limit: int, rest: str) -> None:
    """Print the first `limit` names with their reasons, log them all."""
    from rich.markup import escape

    for item in found:
        logger.warning("%s %s: %s", kind, item.name, item.reason)
    for item in found[:limit]:
        console.print(f"[yellow]{kind}[/] {escape(item.name)}: {escape(item.reason)}")
    if len(found) > limit:
        console.print(f"[yellow]{kind}[/] {len(found) - limit} {rest}")
