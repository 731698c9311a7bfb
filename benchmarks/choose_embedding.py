"""What stands beside the class token, and where prototypes start: the whole job, trained.

Prints a table of ``docs/defaults.md``::

    .venv/bin/python -m benchmarks.choose_embedding --data ../shared/data

Sets: `benchmarks.line_sets`; labelled base = 20 images of each type of NEU-Seg's training split.
NMI / ARI / F1 of images, number of classes given, one seed. Variants of a set share its maps, crops
and tokens. No MTD image is read.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protoanomalyncd import Config, ProtoAnomalyNCD
from protoanomalyncd.datasets import prepare_neu_seg
from protoanomalyncd.discovery.evidence import metrics_of

from .line_sets import COUNTS, PRODUCTS, write_line_set

SHARED = ("detector.json", "detector.safetensors", "maps", "crops", "labelled", "tokens")
"""What does not depend on the variant."""


def variants() -> dict[str, dict[str, Any]]:
    """Settings by name; the default first."""

    def of(patches: float, descriptors: float, start: str) -> dict[str, Any]:
        return {
            "embedding": {"patch_weight": patches, "descriptor_weight": descriptors},
            "prototypes": {"start": start},
        }

    return {
        "patches 0.5": of(0.5, 0.0, "clusters"),
        "patches 0.5, start drawn": of(0.5, 0.0, "drawn"),
        "patches 0.5, descriptors 0.4": of(0.5, 0.4, "clusters"),
        "descriptors 0.4": of(0.0, 0.4, "clusters"),
        "class token alone": of(0.0, 0.0, "clusters"),
        "class token alone, start drawn": of(0.0, 0.0, "drawn"),
    }


def main() -> int:
    """Run all variants of all sets, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with neu_seg/")
    parser.add_argument("--products", nargs="+", default=list(PRODUCTS), choices=PRODUCTS)
    parser.add_argument("--variants", nargs="+", default=list(variants()), choices=variants())
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in options.variants}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare_neu_seg(options.data / "neu_seg", folder / "neu")
        for product in options.products:
            images = write_line_set(product, folder)
            for name in options.variants:
                found[name].append(run(variants()[name], images, folder / "neu", folder / product))
                print(product, name, found[name][-1], file=sys.stderr, flush=True)
    print(f"| variant | {' | '.join(options.products)} | mean NMI / ARI / F1 |")
    print("|---" * (len(options.products) + 2) + "|")
    for name, rows in found.items():
        mean = " / ".join(f"{value:.3f}" for value in np.mean(rows, axis=0))
        print(f"| {name} | {' | '.join(f'{row[0]:.3f}' for row in rows)} | {mean} |")
    return 0


def run(
    settings: dict[str, Any], images: Path, labelled: Path, folder: Path
) -> tuple[float, float, float]:
    """NMI, ARI, F1 of one variant; what it shares with the next stays in `folder`."""
    config = Config.from_dict(
        {"n_novel_classes": len(COUNTS) + 1, "training": {"labelled_per_class": 20}} | settings
    )
    work, kept = folder.with_name(f"{folder.name}-work"), folder.with_name(f"{folder.name}-kept")
    shutil.rmtree(work, ignore_errors=True)
    if kept.is_dir():
        shutil.copytree(kept, work)
    model = ProtoAnomalyNCD(config)
    model.fit(images, labelled=labelled, work_dir=work)
    if not kept.is_dir():
        shutil.copytree(work, kept)
        for path in kept.iterdir():
            if path.name not in SHARED:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    metrics = metrics_of(model.discovery_)
    if metrics is None:
        raise RuntimeError("the set has labels, yet no metrics came")
    return metrics.nmi, metrics.ari, metrics.f1


if __name__ == "__main__":
    sys.exit(main())
