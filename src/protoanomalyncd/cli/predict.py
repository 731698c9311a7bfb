"""`protoanomalyncd predict`: new images by a saved model, without retraining."""

from __future__ import annotations

import tempfile
from pathlib import Path

from protoanomalyncd.cli.console import console, logging_to, progress_bars, show_skipped
from protoanomalyncd.cli.discover import write_tables
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.discovery.evidence import describe_classes
from protoanomalyncd.errors import DatasetError, OutputError
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.persistence import names
from protoanomalyncd.persistence.files import ensure_folder
from protoanomalyncd.reports.summary import summary_table

__all__ = ["predict"]


def predict(
    model: Path,
    images: Path,
    out: Path,
    maps: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Class the images of a folder and write tables and a report.

    Args:
        model: folder of a saved model (RUN/model).
        images: folder of new images.
        out: folder of the results.
        maps: anomaly maps of the new images; needed if the model was fitted with maps.
        device: instead of the model's.
        overwrite: replace earlier results.
        quiet: no progress bars.

    Returns:
        `out`.
    """
    fitted = ProtoAnomalyNCD.from_pretrained(model, device=device)
    dataset = load_dataset(images)
    _check_target(out, overwrite)
    ensure_folder(out.absolute().parent)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.absolute().parent) as scratch:
        results = Path(scratch) / "results"
        results.mkdir()
        with logging_to(results / names.RUN_LOG), progress_bars(quiet) as on_progress:
            found = fitted.predict(
                dataset, maps=maps, work_dir=Path(scratch) / "work", on_progress=on_progress
            )
            if not found.images:
                reason = (
                    f"{found.skipped[0].name}: {found.skipped[0].reason}"
                    if found.skipped
                    else "no image"
                )
                raise DatasetError(
                    f"expected at least one usable image in {images}, got none; "
                    f"first reason: {reason}"
                )
            write_tables(results, found, f"Defect classes in {dataset.root.name}")
        if out.exists():
            out.replace(Path(scratch) / "older")
        results.replace(out)
        show_skipped(found.skipped)
        console.print(summary_table(found, describe_classes(found)))
    console.print(f"report: [bold]{out / names.REPORT}[/]", soft_wrap=True)
    return out


def _check_target(out: Path, overwrite: bool) -> None:
    """Refuse to replace what is no earlier result, or was not asked to be replaced."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out {out}: expected a folder, got a file; choose another")
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise OutputError(
                f"--out {out}: expected a new or empty folder; choose another or add --overwrite"
            )
        if not (out / names.PREDICTIONS).is_file():
            raise OutputError(
                f"--out {out}: expected earlier predictions to replace, got other files"
            )
