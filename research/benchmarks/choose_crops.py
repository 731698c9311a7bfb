"""How much of its surroundings a crop shows, and how strongly the map guides: what chose them.

    .venv/bin/python -m research.benchmarks.choose_crops --data ../shared/data \
        --teachers ../shared/weights

The sets are `research.common.region_sets`: six generated products with faint defects under changing
light, images of 256 px, and images of NEU-Seg's training split, 200 px; anomaly maps of a patch
memory on the ResNet-18 teacher. The guided class tokens of the regions are clustered before
anything is trained, the number of classes given. No MTD image is read.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protoanomalyncd.config import CropConfig, EmbeddingConfig, GuidanceConfig
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from research.common.pooling_sets import PoolingSet
from research.common.region_sets import RegionSet, cut, faint_sets, judged
from research.studies.features import class_tokens

CROPS: dict[str, dict[str, Any]] = {
    "**default**": {},
    "crops.max_enlargement = 1.3": {"max_enlargement": 1.3},
    "crops.max_enlargement = 2.5": {"max_enlargement": 2.5},
    "no limit (the reference)": {"max_enlargement": None},
    "no limit, min_half_side = 0.2": {"max_enlargement": None, "min_half_side": 0.2},
    "no limit, min_half_side = 0.3": {"max_enlargement": None, "min_half_side": 0.3},
    "no limit, min_half_side = 0.5": {"max_enlargement": None, "min_half_side": 0.5},
    "no limit, margin = 1": {"max_enlargement": None, "margin": 1.0},
}
GUIDANCE: dict[str, dict[str, Any]] = {
    "guidance.beta = 2": {"beta": 2.0},
    "guidance.beta = 8": {"beta": 8.0},
    "guidance.mode = hard": {"mode": "hard"},
    "guidance.mode = none": {"mode": "none"},
}
"""With the default crops."""


def main() -> int:
    """Print one row a variant, as it is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with neu_seg/")
    parser.add_argument("--teachers", type=Path, required=True, help="folder with resnet18_trunk/")
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tasks = faint_sets(options.data, options.teachers)
    names = [task.name for task in tasks]
    print(f"| NMI, k-means / Ward | regions | mean | {' | '.join(names)} |")
    print("|" + "---|" * (3 + len(names)))
    for title, values in CROPS.items():
        sets = regions_of(tasks, CropConfig(**values))
        row(title, sets, options.backbone, GuidanceConfig())
    sets = regions_of(tasks, CropConfig())
    for title, values in GUIDANCE.items():
        row(title, sets, options.backbone, GuidanceConfig(**values))
    return 0


def regions_of(tasks: list[PoolingSet], crops: CropConfig) -> list[RegionSet]:
    """The sets' crops, in memory."""
    with tempfile.TemporaryDirectory() as scratch:
        return [cut(task, Path(scratch) / task.name, crops).in_memory() for task in tasks]


def row(title: str, sets: list[RegionSet], backbone: str, guidance: GuidanceConfig) -> None:
    """One line of the table."""
    encoder = GuidedEncoder(create_backbone(backbone), EmbeddingConfig(backbone, guidance=guidance))
    found = [judged(class_tokens(encoder, s.crops), s) for s in sets]
    mean = " / ".join(f"{v:.3f}" for v in np.mean(found, axis=0))
    each = " | ".join(f"{a:.2f} / {b:.2f}" for a, b in found)
    print(f"| {title} | {sum(len(s.image) for s in sets)} | {mean} | {each} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
