"""NEU-Seg, hot-rolled steel: the published folders -> a labelled base set.

Source: Song and Yan's NEU surface defects with the pixel annotations of Dong et al., "PGA-Net",
IEEE Transactions on Industrial Informatics 16, 2020 (github DHW-Master/NEU_Seg). A label of a
whole image needs one type in it: images with several types are counted and left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from protoanomalyncd.core.errors import ConfigurationError, DatasetError
from protoanomalyncd.datasets.folders import existing_folder
from protoanomalyncd.datasets.staging import (
    PrepareSummary,
    build_folder,
    copy_file,
    write_mask,
)
from protoanomalyncd.datasets.values import read_values

__all__ = ["NEU_TYPES", "prepare_neu_seg"]

NEU_TYPES: dict[int, str] = {1: "inclusion", 2: "patches", 3: "scratches"}
"""Defect type by the value that stands for it in the annotations."""


def prepare_neu_seg(
    source: str | Path, out: str | Path, split: Literal["training", "test"] = "training"
) -> PrepareSummary:
    """Hot-rolled steel strip: images that hold one defect type, as a labelled set.

    Writes ``images/<class>`` and ``masks/<class>``.

    Args:
        source: folder with ``images/{training,test}`` and ``annotations/{training,test}``.
        out: folder to write; appears only when complete.
        split: which part of the source to use.

    Raises:
        ConfigurationError: the split is unknown.
        DatasetError: the source is not of that layout.
        ImageError: an annotation cannot be read.
        OutputError: `out` holds other files, or cannot be written.
    """
    if split not in ("training", "test"):
        raise ConfigurationError(f"expected the split training or test, got {split!r}")
    root = existing_folder(source)
    needed = (f"images/{split}", f"annotations/{split}")
    missing = [name for name in needed if not (root / name).is_dir()]
    if missing:
        raise DatasetError(
            f"{root}: expected {' and '.join(needed)} of NEU-Seg, got no {', '.join(missing)}; "
            "give the folder that holds them"
        )
    identity = {"data_set": "neu_seg", "split": split}
    return build_folder(Path(out), identity, lambda staging: _fill(root, split, staging))


def _fill(root: Path, split: str, staging: Path) -> tuple[dict[str, int], dict[str, int]]:
    counts = {f"images/{name}": 0 for name in NEU_TYPES.values()}
    left_out: dict[str, int] = {}
    images = sorted(p for p in (root / "images" / split).iterdir() if p.suffix.lower() == ".jpg")
    if not images:
        raise DatasetError(
            f"{root / 'images' / split}: expected .jpg images, got none; fetch the data set again"
        )
    for path in images:
        annotation = root / "annotations" / split / f"{path.stem}.png"
        values = read_values(annotation)
        present = [int(v) for v in np.unique(values) if v != 0]
        unknown = [v for v in present if v not in NEU_TYPES]
        if unknown:
            raise DatasetError(
                f"{annotation}: expected the values 0 to 3, got {unknown[0]}; give NEU-Seg's own "
                "annotations"
            )
        if len(present) != 1:
            reason = "several types" if present else "no type"
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        name = NEU_TYPES[present[0]]
        copy_file(path, staging / "images" / name / path.name)
        write_mask(staging / "masks" / name / f"{path.stem}.png", np.asarray(values > 0))
        counts[f"images/{name}"] += 1
    return counts, left_out
