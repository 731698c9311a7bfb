"""`protoanomalyncd predict`: new images by a saved model, without retraining."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from protoanomalyncd.cli.console import console, logging_to, progress_bars, show_notes, show_skipped
from protoanomalyncd.cli.discover import write_tables
from protoanomalyncd.cli.results import predictions_folder, refuse_nothing
from protoanomalyncd.discovery.classifier import Classes
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.reports.describe import describe_classes
from protoanomalyncd.reports.summary import summary_table
from protoanomalyncd.storage import names

__all__ = ["predict"]


def predict(
    model: ProtoAnomalyNCD,
    inputs: Inputs,
    out: Path,
    classes: Classes | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Class images and write tables and a report.

    Args:
        model: fitted or loaded.
        inputs: new images, and their maps and object masks where the model was fitted with some.
        out: folder of the results.
        classes: ``novel`` or ``all``; None = as the model was fitted.
        overwrite: replace earlier results.
        quiet: no progress bars.

    Returns:
        `out`.
    """
    dataset = inputs.dataset
    with (
        predictions_folder(out, overwrite) as staged,
        logging_to(staged.results / names.RUN_LOG),
        progress_bars(quiet) as on_progress,
    ):
        found = model.predict(
            dataset,
            maps=inputs.maps,
            object_masks=inputs.object_masks,
            classes=classes,
            work_dir=staged.work,
            on_progress=on_progress,
        )
        refuse_nothing(found, dataset.root)
        show_skipped(found.skipped)
        show_notes(found.notes)
        write_tables(staged.results, found, f"Defect classes in {dataset.root.name}")
    console.print(summary_table(found, describe_classes(found)))
    console.print(f"report: [bold]{escape(str(out / names.REPORT))}[/]", soft_wrap=True)
    return out
