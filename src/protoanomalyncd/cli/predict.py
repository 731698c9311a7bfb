"""`protoanomalyncd predict`: new images by a saved model, without retraining."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from protoanomalyncd.cli.console import console, logging_to, progress_bars, show_notes, show_skipped
from protoanomalyncd.cli.discover import write_tables
from protoanomalyncd.cli.results import predictions_folder, refuse_nothing
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.discovery.classifier import Classes
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.reports.describe import describe_classes
from protoanomalyncd.reports.summary import summary_table
from protoanomalyncd.storage import names

__all__ = ["predict"]


def predict(
    model: Path,
    images: Path,
    out: Path,
    maps: Path | None = None,
    classes: Classes | None = None,
    device: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    object_masks: Path | None = None,
) -> Path:
    """Class the images of a folder and write tables and a report.

    Args:
        model: folder of a saved model (RUN/model).
        images: folder of new images.
        out: folder of the results.
        maps: anomaly maps of the new images; needed if the model was fitted with maps.
        classes: ``novel`` or ``all``; None = as the model was fitted.
        device: instead of the model's.
        overwrite: replace earlier results.
        quiet: no progress bars.
        object_masks: object masks of the new images; needed if the model was fitted with some.

    Returns:
        `out`.
    """
    fitted = ProtoAnomalyNCD.from_pretrained(model, device=device)
    dataset = load_dataset(images)
    with (
        predictions_folder(out, overwrite) as staged,
        logging_to(staged.results / names.RUN_LOG),
        progress_bars(quiet) as on_progress,
    ):
        folders = {"maps": maps, "object_masks": object_masks, "work_dir": staged.work}
        found = fitted.predict(dataset, **folders, classes=classes, on_progress=on_progress)
        refuse_nothing(found, images)
        show_skipped(found.skipped)
        show_notes(found.notes)
        write_tables(staged.results, found, f"Defect classes in {dataset.root.name}")
    console.print(summary_table(found, describe_classes(found)))
    console.print(f"report: [bold]{escape(str(out / names.REPORT))}[/]", soft_wrap=True)
    return out
