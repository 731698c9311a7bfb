"""Figures by which the class token was judged: ``python -m research.pretraining.class_token``.

Regions of faint generated defects under changing light and of NEU-Seg's training split are cut as
the main job cuts them (anomaly maps of a patch memory on the ResNet-18 teacher, the same for every
network); then the guided class tokens, before the main job trains anything, are clustered, the
number of classes given.  No MTD image is read.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.config import Config, CropConfig, EmbeddingConfig, MEBinConfig
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.metrics import evaluate
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.localisation.choice import choose_localiser
from protoanomalyncd.pipeline.fit import Fit
from protoanomalyncd.training import CropSet
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from research.studies.clustering import agglomerative, kmeans
from research.studies.features import class_tokens

from .export import export
from .pooling_sets import PoolingSet, generated_set, grey, neu_set, vary
from .teachers import ResNet18Trunk

PRODUCTS = ("brushed_metal", "leather", "wood", "fabric", "tile", "gear")
STRENGTH = 0.5
EACH = 12
SEEDS = range(3)


@dataclass(frozen=True)
class RegionSet:
    """Crops of a set, and what they are judged by.

    Attributes:
        name: of the set.
        crops: of all images, image by image.
        image: number of each crop's image (n,).
        areas: of each crop's region; 0 = a whole image without one (n,).
        types: true type of each image.
    """

    name: str
    crops: CropSet
    image: Tensor
    areas: Tensor
    types: list[int]

    def in_memory(self) -> RegionSet:
        """The same, without the files that `cut` wrote."""
        images, masks, maps = (
            np.array(part) for part in (self.crops.images, self.crops.masks, self.crops.maps)
        )
        return replace(self, crops=replace(self.crops, images=images, masks=masks, maps=maps))


def cut(task: PoolingSet, folder: Path, crops: CropConfig | None = None) -> RegionSet:
    """Write a set as files, and cut its regions, with the default settings where none are given."""
    for number, (image, amap) in enumerate(zip(task.images, task.maps, strict=True)):
        for part in ("images", "maps"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "images" / f"{number:04d}.png"), image[..., ::-1])
        np.save(folder / "maps" / f"{number:04d}.npy", amap)
    has_normals = task.name != "neu_seg"
    config = Config(
        n_novel_classes=2,
        mebin=MEBinConfig(normals_in_set=has_normals),
        crops=crops or CropConfig(),
    )
    dataset = load_dataset(folder / "images")
    fit = Fit(config, folder / "work", lambda *_: None, [])
    fit.locate(choose_localiser(config.localiser, task.name, None, "cpu"), dataset)
    model = ProtoAnomalyNCD(config)
    source = model._create_source(create_backbone("embedded"), dataset, folder / "maps")
    found, cropped, _ = fit.cut(*fit.score(source, dataset), None)
    image = [i for i, one in enumerate(found) for _ in one.regions]
    areas = [0.0 if r.whole_image else r.area for one in found for r in one.regions]
    types = [int(task.types[int(Path(one.sample.name).stem)]) for one in found]
    return RegionSet(
        task.name, cropped, torch.tensor(image), torch.tensor(areas, dtype=torch.float64), types
    )


def faint_sets(data: Path, teachers: Path) -> list[PoolingSet]:
    """All sets, the same in every call."""
    trunk = ResNet18Trunk(teachers / "resnet18_trunk").eval()
    trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rng = np.random.default_rng(78)
    tasks = []
    for product in PRODUCTS:
        task = generated_set(
            trunk, product, EACH, lambda image: vary(rng, grey(image)), strength=STRENGTH
        )
        tasks.append(replace(task, name=f"{product}, faint"))
    tasks.append(neu_set(trunk, data, 60))
    return tasks


def region_sets(data: Path, teachers: Path, folder: Path) -> list[RegionSet]:
    """Their regions."""
    return [cut(task, folder / task.name) for task in faint_sets(data, teachers)]


def judged(z: Tensor, task: RegionSet) -> list[float]:
    """NMI of k-means (mean of the seeds) and of Ward, regions merged into images."""
    points, n_classes = z.double().numpy(), max(task.types) + 1
    out = []
    found = [kmeans(points, n_classes, seed) for seed in SEEDS]
    for ids in (*found, agglomerative(points, n_classes)):
        one_hot = torch.eye(n_classes, dtype=torch.float64)[torch.from_numpy(ids)]
        merged = merge_regions(one_hot, task.image, task.areas).argmax(dim=1).tolist()
        out.append(evaluate([str(t) for t in task.types], merged).nmi)
    return [float(np.mean(out[:-1])), out[-1]]


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
