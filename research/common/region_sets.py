"""Regions of faint defects, cut as the main job cuts them, and how well embeddings group them.

Six generated products with faint defects under changing light, and images of NEU-Seg's training
split; anomaly maps of a patch memory on the ResNet-18 teacher, the same for every network. No MTD
image is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.config import Config, CropConfig, MEBinConfig
from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.metrics import evaluate
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.training import CropSet
from research.common.pooling_sets import PoolingSet, generated_set, grey, neu_set, vary
from research.common.teachers import ResNet18Trunk
from research.prepared import prepare, region_areas, region_images
from research.studies.clustering import agglomerative, kmeans

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
    inputs = Inputs.read(folder / "images", maps=folder / "maps")
    found = prepare(config, inputs, folder / "work")
    types = [int(task.types[int(Path(one.sample.name).stem)]) for one in found.images]
    areas = region_areas(found.images)
    return RegionSet(task.name, found.crops, region_images(found.images), areas, types)


def faint_sets(data: Path, teachers: Path) -> list[PoolingSet]:
    """All sets, the same in every call."""
    trunk = ResNet18Trunk(teachers / "resnet18_trunk").eval()
    trunk.to(memory_format=torch.channels_last)
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
