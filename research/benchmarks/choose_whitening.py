"""How far patches and regions are taken relative to what is normal.

Prints the tables of ``docs/defaults.md``::

    .venv/bin/python -m research.benchmarks.choose_whitening detector
    .venv/bin/python -m research.benchmarks.choose_whitening regions

Sets: `research.benchmarks.line_sets`. *detector*: image AUROC of the patch memory. *regions*: NMI
of k-means (mean of three seeds) and Ward on guided class tokens before any training, number of
classes given, regions merged into images; images without a region are a class of their own, and
regions that look normal with them (`embedding.normal_gate_quantile`); with the region's patches
beside the class token too (`embedding.patch_weight`). No MTD image is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from protoanomalyncd.config import Config
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.metrics import evaluate
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.pipeline.stages import CroppedImage
from protoanomalyncd.training import CropSet
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from protoanomalyncd.vit.whitening import NormalWhitening
from research.prepared import detector_of, parts_of, prepare, region_areas, region_images
from research.studies.clustering import agglomerative, kmeans

from .line_sets import COUNTS, PRODUCTS, write_line_set

SHRINKAGES: tuple[float | None, ...] = (None, 3.0, 1.0, 0.3, 0.1)
SMOOTHINGS = (0.0, 0.7, 1.0, 1.5)
SHARES = (0.3, 0.5, 0.7, 0.9, 0.97)
"""Of normal places that are to look normal."""
PATCH_WEIGHTS = (0.25, 0.5, 0.75)
N_CLASSES = len(COUNTS) + 1


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["detector", "regions"])
    parser.add_argument("--products", nargs="+", default=list(PRODUCTS), choices=PRODUCTS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for product in options.products:
            folder = write_line_set(product, Path(scratch))
            if options.part == "detector":
                rows = detector(folder)
            else:
                rows = regions(folder, Path(scratch) / f"{product}-work")
            print(product, rows, file=sys.stderr, flush=True)
            for title, values in rows.items():
                found.setdefault(title, []).append(values)
    print(f"| variant | {' | '.join(options.products)} | mean |")
    print("|---" * (len(options.products) + 2) + "|")
    for title, cells in found.items():
        each = [" / ".join(f"{v:.3f}" for v in cell) for cell in cells]
        mean = " / ".join(f"{v:.3f}" for v in np.mean(cells, axis=0))
        print(f"| {title} | {' | '.join(each)} | {mean} |")
    return 0


def detector(folder: Path) -> dict[str, tuple[float, ...]]:
    """Image AUROC by whitening and smoothing."""
    dataset = load_dataset(folder)
    bad = [sample.label != "good" for sample in dataset.unlabelled]
    out: dict[str, tuple[float, ...]] = {}
    for shrinkage in SHRINKAGES:
        backbone = create_backbone("embedded")
        source = detector_of("patch_memory", backbone, whitening=shrinkage, smoothing=0.0)
        source.fit(dataset.normal)
        maps = [np.asarray(amap) for _, amap in source.score(dataset.unlabelled)]
        for width in SMOOTHINGS:
            smooth = maps if width == 0 else [cv2.GaussianBlur(m, (0, 0), width) for m in maps]
            scores = [float(m.max()) for m in smooth]
            out[f"whitening {shrinkage or 'none'}, smoothing {width:g}"] = (
                float(roc_auc_score(bad, scores)),
            )
    return out


def regions(folder: Path, work: Path) -> dict[str, tuple[float, ...]]:
    """NMI of k-means and Ward by whitening; with the default one, by what counts as normal too."""
    config = Config(n_novel_classes=N_CLASSES)
    backbone = create_backbone("embedded")
    parts = parts_of(config, backbone, "patch_memory")
    prepared = prepare(config, Inputs.read(folder), work, parts)
    found, crops = prepared.images, prepared.crops
    plain = GuidedEncoder(
        backbone, dataclasses.replace(config.embedding, whitening=None, patch_weight=0)
    )
    normal, frozen_normal = prepared.normal_views(plain)
    tokens, frozen = plain_views(plain, crops)
    out: dict[str, tuple[float, ...]] = {
        "whitening none": clustered(tokens, crops.anomalous, found)
    }
    for shrinkage in SHRINKAGES:
        if shrinkage is None:
            continue
        whitening = NormalWhitening(tokens.shape[1], shrinkage)
        whitening.fit(normal)
        z = whitening(tokens)
        out[f"whitening {shrinkage}"] = clustered(z, crops.anomalous, found)
        if shrinkage != config.embedding.whitening:
            continue
        for share in SHARES:
            gate = NormalGate(frozen.shape[1], share)
            gate.fit(frozen_normal)
            holds = crops.anomalous & ~gate(frozen).numpy()
            out[f"whitening {shrinkage}, gate {share}"] = clustered(z, holds, found)
            if share != config.embedding.normal_gate_quantile:
                continue
            patches = NormalWhitening(tokens.shape[1], shrinkage)
            patches.fit(GuidedEncoder.patches_of(frozen_normal))
            p = patches(GuidedEncoder.patches_of(frozen))
            for weight in PATCH_WEIGHTS:
                beside = torch.cat([(1 - weight) ** 0.5 * z, weight**0.5 * p], dim=1)
                title = f"whitening {shrinkage}, gate {share}, patches {weight}"
                out[title] = clustered(beside, holds, found)
    return out


def plain_views(encoder: GuidedEncoder, crops: CropSet) -> tuple[Tensor, Tensor]:
    """Unit class tokens and frozen views of plain views."""
    rows = []
    for crop in zip(crops.images, crops.masks, crops.maps, strict=True):
        image, mask, amap = crop
        guide = encoder.guide_values(mask, amap)
        window, values = plain_view(image, guide, encoder.config.input_size)
        rows.append(
            encoder.features(torch.from_numpy(window)[None], torch.from_numpy(values)[None])
        )
    return torch.cat([r[0] for r in rows]), torch.cat([r[1] for r in rows])


def clustered(
    z: Tensor, holds: NDArray[np.bool_], found: list[CroppedImage]
) -> tuple[float, float]:
    """NMI of k-means and of Ward; regions that do not hold anything are class 0."""
    points = z.double().numpy()
    ways = [lambda x, k, s=seed: kmeans(x, k, s) for seed in range(3)]
    out = []
    for cluster in (*ways, agglomerative):
        ids = np.zeros(len(points), np.int64)
        if holds.all():
            ids = cluster(points, N_CLASSES)
        else:
            ids[holds] = 1 + cluster(points[holds], N_CLASSES - 1)
        one_hot = torch.eye(N_CLASSES, dtype=torch.float64)[torch.from_numpy(ids)]
        merged = merge_regions(one_hot, region_images(found), region_areas(found))
        truth = [str(one.sample.label) for one in found]
        out.append(evaluate(truth, merged.argmax(dim=1).tolist()).nmi)
    return float(np.mean(out[:-1])), out[-1]


if __name__ == "__main__":
    sys.exit(main())
