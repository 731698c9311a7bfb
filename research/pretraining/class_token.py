"""Figures by which the class token was judged: ``python -m research.pretraining.class_token``.

Regions of faint generated defects under changing light and of NEU-Seg's training split are cut as
the main job cuts them (anomaly maps of a patch memory on the ResNet-18 teacher, the same for every
network); then the guided class tokens, before the main job trains anything, are clustered, the
number of classes given.  No MTD image is read.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from protoanomalyncd.config import EmbeddingConfig
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from research.common.region_sets import judged, region_sets
from research.studies.features import class_tokens

from .export import export


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="*", default=["embedded"])
    parser.add_argument("--runs", nargs="*", type=Path, default=[])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        sets = region_sets(args.data, args.teachers, Path(scratch))
        print("regions:", {s.name: len(s.image) for s in sets}, flush=True)
        names = [(name, name) for name in args.backbones]
        for run in args.runs:
            folder = Path(scratch) / run.name
            export(run, folder)
            names.append((run.name, f"local-dir:{folder}"))
        for title, name in names:
            encoder = GuidedEncoder(create_backbone(name), EmbeddingConfig(name))
            rows = [judged(class_tokens(encoder, s.crops), s) for s in sets]
            mean = " / ".join(f"{v:.3f}" for v in np.mean(rows, axis=0))
            each = " ".join(f"{a:.2f}/{b:.2f}" for a, b in rows)
            print(f"{title:24s} k-means / Ward {mean}   by set {each}", flush=True)


if __name__ == "__main__":
    main()
