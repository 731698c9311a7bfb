"""Where the range of given maps begins, when no held-out normal image is known.

Prints the table of ``docs/defaults.md``::

    .venv/bin/python -m benchmarks.choose_range

Sets: `benchmarks.line_sets`, of whose images three in ten are normal. The built-in detector's maps
are written into a folder and read from there, as another program's would be. NMI of k-means (mean
of three seeds) and Ward on embeddings before any training, as `choose_whitening regions`. No MTD
image is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.choose_whitening import N_CLASSES, clustered, plain_views
from benchmarks.line_sets import PRODUCTS, write_line_set
from protoanomalyncd.config import Config, MEBinConfig
from protoanomalyncd.datasets import Dataset, load_dataset
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.fitting import Fit
from protoanomalyncd.vit import Backbone, GuidedEncoder, create_backbone

QUANTILES = (0.0, 0.05, 0.1, 0.2, 0.3)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", nargs="+", default=list(PRODUCTS), choices=PRODUCTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = create_backbone("embedded")
    found: dict[float, list[tuple[float, float]]] = {q: [] for q in QUANTILES}
    with tempfile.TemporaryDirectory() as scratch:
        for product in options.products:
            dataset = load_dataset(write_line_set(product, Path(scratch)))
            maps = write_maps(backbone, dataset, Path(scratch) / f"{product}-maps")
            for quantile in QUANTILES:
                work = Path(scratch) / f"{product}-{quantile}"
                found[quantile].append(trial(backbone, dataset, maps, quantile, work))
                print(product, quantile, found[quantile][-1], file=sys.stderr, flush=True)
    print(f"| `mebin.set_quantile` | {' | '.join(options.products)} | mean |")
    print("|---" * (len(options.products) + 2) + "|")
    for quantile, pairs in found.items():
        cells = [f"{a:.3f} / {b:.3f}" for a, b in [*pairs, tuple(np.mean(pairs, axis=0))]]
        print(f"| {quantile:g} | {' | '.join(cells)} |")
    return 0


def write_maps(backbone: Backbone, dataset: Dataset, folder: Path) -> Path:
    """The built-in detector's maps of the unlabelled images, named as these."""
    source = ProtoAnomalyNCD(Config())._create_source(backbone, dataset, None)
    source.fit(dataset.normal)
    for sample, amap in source.score(dataset.unlabelled):
        path = (folder / sample.name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.asarray(amap))
    return folder


def trial(
    backbone: Backbone, dataset: Dataset, maps: Path, quantile: float, work: Path
) -> tuple[float, float]:
    """NMI of k-means and of Ward."""
    mebin = MEBinConfig(set_quantile=quantile)
    config = dataclasses.replace(Config(n_novel_classes=N_CLASSES), mebin=mebin)
    fit = Fit(config, work, lambda *_: None, [])
    source = ProtoAnomalyNCD(config)._create_source(backbone, dataset, maps)
    found, crops, _ = fit.cut(*fit.score(source, dataset), None)
    encoder = GuidedEncoder(backbone, config.embedding)
    fit.meet_normal(encoder, crops)
    z, frozen = plain_views(encoder, crops)
    holds = crops.anomalous
    if fit.normality is not None:
        holds = holds & ~fit.normality(frozen).numpy()
    return clustered(z, holds, found)


if __name__ == "__main__":
    sys.exit(main())
