"""Intermediate results that several runs share: maps, crops, tokens.

Each stage's results are kept under a key: a hash of the data and of every setting but those that
are known to have no influence on it. A new setting thus counts everywhere until it is listed here:
that costs time, never a wrong result.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from protoanomalyncd.config import Config
from protoanomalyncd.storage.staged_folder import fingerprint
from research.published import Published

__all__ = ["FROM_A_FOLDER", "WITHOUT_INFLUENCE", "SharedWork", "stage_keys"]

_LEARNING = ("n_novel_classes", "count", "prototypes", "outliers")
_TRAINING = (
    "epochs",
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
)
_LOOP = tuple(f"training.{name}" for name in _TRAINING)
_BESIDE = ("descriptor_weight", "patch_weight", "whitening", "normal_gate_quantile")
_AFTER_TOKENS = tuple(f"embedding.{name}" for name in _BESIDE)
_EMBEDDING = ("embedding.guidance", "embedding.input_size", *_AFTER_TOKENS)
_OPTIONS = tuple(
    f"published.{field.name}"
    for field in dataclasses.fields(Published)
    if field.name not in ("mebin", "crops", "guidance", "recolouring")
)
_VIEWS = ("published.guidance", "published.recolouring")

WITHOUT_INFLUENCE: Mapping[str, tuple[str, ...]] = {
    "maps": (*_LEARNING, *_EMBEDDING, "training", "mebin", "crops", "published"),
    "crops": (*_LEARNING, *_EMBEDDING, "training", *_OPTIONS, *_VIEWS),
    "labelled": (
        *(*_LEARNING, *_EMBEDDING, *_LOOP, *_OPTIONS, *_VIEWS),
        *("detector", "mebin", "embedding.backbone", "training.views", "published.mebin"),
    ),
    "tokens": (*_LEARNING, *_LOOP, *_OPTIONS, *_AFTER_TOKENS),
}
"""Settings that do not change what a stage makes."""

FROM_A_FOLDER = ("seed", "device", "detector", "embedding")
"""Nor do these, where the maps were made by another program."""

_ENTRIES: Mapping[str, tuple[str, ...]] = {
    "maps": ("detector.safetensors", "detector.json", "maps"),
    "crops": ("crops",),
    "labelled": ("labelled",),
    "tokens": ("tokens",),
}
"""What a stage leaves in the work folder of a fit."""


def stage_keys(config: Config, published: Published, data: str, maps_given: bool) -> dict[str, str]:
    """Key of each stage.

    Args:
        config: of the run.
        published: what the run does as a published method does it.
        data: fingerprint of images, labelled set and given maps.
        maps_given: whether the maps come from a folder.
    """
    keys = {}
    for stage, names in WITHOUT_INFLUENCE.items():
        values = {**config.to_dict(), "published": dataclasses.asdict(published)}
        given = FROM_A_FOLDER if maps_given and stage in ("maps", "crops") else ()
        for name in (*names, *given):
            _drop(values, name)
        keys[stage] = f"{stage}-{fingerprint({'data': data, 'settings': values})[:16]}"
    return keys


class SharedWork:
    """Shared results in one folder.

    Args:
        folder: is created when the first result arrives.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lend(self, keys: Mapping[str, str], work: Path) -> None:
        """Put what is known into the work folder of a fit that is about to begin or go on."""
        work.mkdir(parents=True, exist_ok=True)
        for stage, key in keys.items():
            kept = self.folder / key
            for name in _ENTRIES[stage] if kept.is_dir() else ():
                source, target = kept / name, work / name
                if target.is_symlink() or not source.exists():
                    continue
                if source.is_file():
                    shutil.copy2(source, target)
                else:
                    shutil.rmtree(target, ignore_errors=True)
                    target.symlink_to(source.absolute(), target_is_directory=True)

    def keep(self, keys: Mapping[str, str], work: Path) -> None:
        """Take what a finished fit has made, where it is new."""
        for stage, key in keys.items():
            kept, partial = self.folder / key, self.folder / f"{key}.partial"
            made = [work / name for name in _ENTRIES[stage] if (work / name).exists()]
            if kept.exists() or not made or any(path.is_symlink() for path in made):
                continue
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for path in made:
                shutil.move(path, partial / path.name)
            partial.rename(kept)

    def forget_all_but(self, keys: Iterable[str]) -> None:
        """Remove what no further run needs."""
        needed = set(keys)
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in needed:
                shutil.rmtree(path, ignore_errors=True)


def _drop(values: dict[str, Any], name: str) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        values = values.get(parent, {})
    values.pop(last, None)
