"""`protoanomalyncd classify`: new images by an exported model, without torch."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.cli.console import console, logging_to, progress_bars, show_skipped
from protoanomalyncd.cli.results import predictions_folder, refuse_nothing
from protoanomalyncd.deployment.runtime import Runtime
from protoanomalyncd.reports.summary import summary_table
from protoanomalyncd.reports.tables import write_predictions, write_regions
from protoanomalyncd.storage import names

__all__ = ["classify"]


def classify(
    runtime: Runtime,
    images: Path,
    maps: Path,
    out: Path,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Class the images of a folder and write the tables that `predict` writes.

    Args:
        runtime: the exported model.
        images: folder of new images.
        maps: their anomaly maps.
        out: folder of the results.
        overwrite: replace earlier results.
        quiet: no progress bars.

    Returns:
        `out`.
    """
    from rich.markup import escape

    with (
        predictions_folder(out, overwrite) as staged,
        logging_to(staged.results / names.RUN_LOG),
        progress_bars(quiet) as on_progress,
    ):
        found = runtime.classify_folder(images, maps, on_progress)
        refuse_nothing(found, images)
        show_skipped(found.skipped)
        write_predictions(staged.results / names.PREDICTIONS, found)
        write_regions(staged.results / names.REGIONS, found)
    console.print(summary_table(found, {}))
    console.print(f"results: [bold]{escape(str(out / names.PREDICTIONS))}[/]", soft_wrap=True)
    return out
