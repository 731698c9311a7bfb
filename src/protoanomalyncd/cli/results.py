"""What `predict` and `classify` share: where their results go, and when there are none."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.core.errors import DatasetError
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.storage import names
from protoanomalyncd.storage.staged_folder import StagedFolder

__all__ = ["predictions_folder", "refuse_nothing"]


def predictions_folder(out: Path, overwrite: bool) -> StagedFolder:
    """Where predictions are written; the folder takes its place when all of it is there."""
    return StagedFolder(out, marker=names.PREDICTIONS, overwrite=overwrite)


def refuse_nothing(found: Discovery, images: Path) -> None:
    """Raise DatasetError where not one image could be used."""
    if found.images:
        return
    first = found.skipped[0] if found.skipped else None
    reason = f"{first.name}: {first.reason}" if first else "no image"
    raise DatasetError(
        f"expected at least one usable image in {images}, got none; first reason: {reason}"
    )
