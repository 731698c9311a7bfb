"""What a fit or a prediction is given, and how it is known again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import InputError
from protoanomalyncd.core.records import Sample, Skipped
from protoanomalyncd.datasets import (
    Dataset,
    LabelledSet,
    content_key,
    load_dataset,
    load_labelled,
)
from protoanomalyncd.storage.staged_folder import fingerprint

__all__ = ["Inputs", "by_content", "identity_of"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The data of one call.

    Args:
        dataset: images to class, and normal ones to learn from.
        labelled: base set of known defects, None = none.
        maps: folder of anomaly maps of any detector, None = a detector scores the images.
        object_masks: folder of masks that say where the object is, None = as configured.
    """

    dataset: Dataset
    labelled: LabelledSet | None = None
    maps: Path | None = None
    object_masks: Path | None = None

    @classmethod
    def read(
        cls,
        images: str | Path | Dataset | Sequence[Sample],
        labelled: str | Path | LabelledSet | None = None,
        maps: str | Path | None = None,
        object_masks: str | Path | None = None,
    ) -> Inputs:
        """From folders, or from what was read before.

        Raises:
            DatasetError: a folder holds no images, or no labelled class.
        """
        if isinstance(images, str | Path):
            images = load_dataset(Path(images))
        elif not isinstance(images, Dataset):
            images = Dataset(Path(), "folder", (), tuple(images))
        if isinstance(labelled, str | Path):
            labelled = load_labelled(Path(labelled))
        folders = (None if folder is None else Path(folder) for folder in (maps, object_masks))
        return cls(images, labelled, *folders)


def by_content(samples: Sequence[Sample], skipped: list[Skipped]) -> list[tuple[str, Sample]]:
    """Samples with their content keys, in the order of these; unreadable files are skipped."""
    found = []
    for sample in samples:
        try:
            found.append((content_key(sample.path), sample))
        except (OSError, InputError) as error:
            skipped.append(Skipped(sample.name, f"cannot be read: {error}"))
    return sorted(found, key=lambda pair: (pair[0], pair[1].name))


def identity_of(config: Config, inputs: Inputs) -> str:
    """Hash of all that a result depends on: settings, and names, sizes and times of all files."""
    dataset, labelled = inputs.dataset, inputs.labelled
    samples = (*dataset.normal, *dataset.unlabelled, *(labelled.samples if labelled else ()))
    folders = {"maps": inputs.maps, "object_masks": inputs.object_masks}
    given = {
        name: [[str(path.resolve()), *_status(path)] for path in sorted(folder.rglob("*"))]
        for name, folder in folders.items()
        if folder is not None
    }
    prompts = config.localiser.options.get("prompts")
    if prompts is not None:
        given["prompts"] = [[str(prompts), *_status(Path(str(prompts)))]]
    return fingerprint(
        {
            "config": config.to_dict(),
            "root": str(dataset.root.resolve()),
            "files": [_stamp(sample) for sample in samples],
            "given": given,
        }
    )


def _stamp(sample: Sample) -> list[Any]:
    mask = _status(sample.mask_path) if sample.mask_path else ()
    return [sample.name, sample.label, *_status(sample.path), *mask]


def _status(path: Path) -> list[int]:
    """Size and time of a file; nothing of one that cannot be read (it will be skipped)."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
