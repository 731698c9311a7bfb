"""Given maps: where their range begins, and whether coarse ones are smoothed.

Prints the tables of ``docs/defaults.md``::

    .venv/bin/python -m research.benchmarks.choose_range
    .venv/bin/python -m research.benchmarks.choose_range --weights ../shared/weights

Sets: `research.benchmarks.line_sets`, of whose images three in ten are normal. Maps are written
into a folder and read from there, as another program's would be. *First command*: the built-in
detector's, smooth already; *second*: of a patch memory on ResNet-18, one score a patch. NMI of
k-means (mean of three seeds) and of Ward on embeddings before any training, as `choose_whitening
regions`, and image AUROC. No MTD image is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from protoanomalyncd.config import Component, Config, MEBinConfig
from protoanomalyncd.datasets import Dataset, load_dataset, read_image, read_map, smooth_coarse
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.pipeline.parts import Parts
from protoanomalyncd.vit import Backbone, create_backbone
from research.benchmarks.choose_regions import Detector, subset
from research.benchmarks.choose_whitening import N_CLASSES, clustered, plain_views
from research.benchmarks.line_sets import PRODUCTS, write_line_set
from research.prepared import detector_of, prepare

QUANTILES = (0.0, 0.05, 0.1, 0.2, 0.3)
SMOOTHINGS = (0.0, 0.7, 1.0, 1.5)
MEMORY = 12_000
Variant = tuple[float, float]
"""`detector.coarse_smoothing`, `mebin.set_quantile`."""


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", nargs="+", default=list(PRODUCTS), choices=PRODUCTS)
    parser.add_argument(
        "--weights", type=Path, help="folder with resnet18_trunk/: its maps instead"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = create_backbone("embedded")
    variants = [(0.0, q) for q in QUANTILES]
    if options.weights:
        variants = [(s, q) for s in SMOOTHINGS for q in (0.1, 0.2)]
    found: dict[Variant, list[tuple[float, ...]]] = {v: [] for v in variants}
    with tempfile.TemporaryDirectory() as scratch:
        for product in options.products:
            dataset = load_dataset(write_line_set(product, Path(scratch)))
            folder = Path(scratch) / f"{product}-maps"
            write_maps(backbone, dataset, folder, options.weights)
            for number, variant in enumerate(variants):
                work = Path(scratch) / f"{product}-{number}"
                figures = trial(backbone, dataset, folder, variant, work)
                found[variant].append(figures)
                print(product, variant, figures, file=sys.stderr, flush=True)
    columns = f"{' | '.join(options.products)} | mean"
    print(f"| `detector.coarse_smoothing` | `mebin.set_quantile` | {columns} |")
    print("|---" * (len(options.products) + 3) + "|")
    for (smoothing, quantile), rows in found.items():
        cells = [
            " / ".join(f"{value:.3f}" for value in row) for row in [*rows, np.mean(rows, axis=0)]
        ]
        print(f"| {smoothing:g} | {quantile:g} | {' | '.join(cells)} |")
    return 0


def write_maps(backbone: Backbone, dataset: Dataset, folder: Path, weights: Path | None) -> None:
    """Maps of the unlabelled images, named as these."""

    def keep(name: str, amap: np.ndarray) -> None:
        path = (folder / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, amap)

    if weights is None:
        source = detector_of("patch_memory", backbone)
        source.fit(dataset.normal)
        for sample, amap in source.score(dataset.unlabelled):
            keep(sample.name, np.asarray(amap))
        return
    detector = Detector(weights / "resnet18_trunk")
    patches = [detector.patches(read_image(sample.path)) for sample in dataset.normal]
    memory = subset(patches, MEMORY, np.random.default_rng(0))
    for sample in dataset.unlabelled:
        keep(sample.name, detector.score(read_image(sample.path), memory))


def trial(
    backbone: Backbone, dataset: Dataset, maps: Path, variant: Variant, work: Path
) -> tuple[float, ...]:
    """NMI of k-means, of Ward; image AUROC of the maps."""
    smoothing, quantile = variant
    config = dataclasses.replace(
        Config(n_novel_classes=N_CLASSES),
        detector=Component("folder", {"coarse_smoothing": smoothing}),
        mebin=MEBinConfig(set_quantile=quantile),
    )
    found = prepare(config, Inputs(dataset, maps=maps), work, Parts(config, backbone))
    encoder, gate = found.encoder()
    z, frozen = plain_views(encoder, found.crops)
    holds = found.crops.anomalous
    if gate is not None:
        holds = holds & ~gate(frozen).numpy()
    bad = [sample.label != "good" for sample in dataset.unlabelled]
    files = [(maps / sample.name).with_suffix(".npy") for sample in dataset.unlabelled]
    scores = [float(smooth_coarse(read_map(path), smoothing).max()) for path in files]
    return (*clustered(z, holds, found.images), float(roc_auc_score(bad, scores)))


if __name__ == "__main__":
    sys.exit(main())
