"""How well mutual scoring finds defects, beside the patch memory that learns from normal images.

    .venv/bin/python -m research.benchmarks.zero_shot wood tablet [--mtd DATA/mtd] [--references 64]

For each generated product (16 good images, 12 of each of eight types) and for a folder in the MVTec
AD layout: AUROC of the image maximum, good against all others. About a second an image and core.
MTD is for reporting only: nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from protoanomalyncd.anomaly_maps import create
from protoanomalyncd.config import Component
from protoanomalyncd.core.records import Skipped
from protoanomalyncd.datasets import Dataset, load_dataset
from protoanomalyncd.datasets.generated import Counts, defect_types_of, generate
from protoanomalyncd.vit import Backbone, create_backbone

TYPES = ("burn", "chipped_edge", "contamination", "crack", "dent", "hole", "scratch", "stain")


def main() -> int:
    """Print a row a set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("products", nargs="*", help="generated products")
    parser.add_argument("--mtd", type=Path, default=None, help="a prepared MTD")
    parser.add_argument("--references", type=int, nargs="+", default=[64])
    parser.add_argument("--size", type=int, default=256, help="side of generated images [px]")
    parser.add_argument("--n-per-type", type=int, default=12)
    options = parser.parse_args()
    backbone = create_backbone("embedded")
    sources = {f"mutual_scoring, {n}": {"reference_images": n} for n in options.references}
    print("| set | images | patch_memory |", " | ".join(sources), "|")
    with tempfile.TemporaryDirectory() as scratch:
        sets = {name: drawn(name, Path(scratch), options) for name in options.products}
        if options.mtd is not None:
            sets["MTD"] = load_dataset(options.mtd)
        for name, dataset in sets.items():
            found = [auroc("patch_memory", dataset, backbone, {})]
            found += [auroc("mutual_scoring", dataset, backbone, a) for a in sources.values()]
            columns = " | ".join(f"{value:.3f}" for value in found)
            print(f"| {name} | {len(dataset.unlabelled)} | {columns} |", flush=True)
    return 0


def drawn(product: str, folder: Path, options: argparse.Namespace) -> Dataset:
    """A generated product."""
    return load_dataset(
        generate(
            folder / product,
            product,
            counts=Counts(normal=40, per_type=options.n_per_type, good=16),
            types=sorted(set(TYPES) & set(defect_types_of(product))),
            size=options.size,
            seed=11,
        )
    )


def auroc(name: str, dataset: Dataset, backbone: Backbone, arguments: dict[str, int]) -> float:
    """AUROC of the image maximum of one source."""
    source = create(Component(name, arguments), backbone=backbone)
    source.fit(dataset.normal if source.learns_from == "normal" else dataset.unlabelled)
    defective, maxima = [], []
    for sample, scores in source.score(dataset.unlabelled):
        if not isinstance(scores, Skipped):
            defective.append(sample.label != "good")
            maxima.append(float(np.max(scores)))
    return float(roc_auc_score(defective, maxima))


if __name__ == "__main__":
    sys.exit(main())
