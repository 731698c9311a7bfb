"""Images with defects of known types and rough anomaly maps, to judge pooling without a test set.

Generated products (grey, as most inspection cameras see) with their normals as one more class, and
images of NEU-Seg's training split; maps of a patch memory on the ResNet-18 teacher, the same
for every network.  No MTD image is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from protoanomalyncd.datasets.generated import defect_types_of, render
from research.common.teachers import MEAN, STD, ResNet18Trunk

Image = NDArray[np.uint8]

PRODUCTS = ("brushed_metal", "leather", "wood", "fabric", "tablet", "washer")
VARIED = ("brushed_metal", "leather", "wood", "fabric", "tile", "gear")
"""Products shown in one light and place, and such under changing light and crop."""


@dataclass
class PoolingSet:
    """One task of clustering.

    Attributes:
        name: of the set.
        images: (N, 256, 256, 3) uint8.
        maps: anomaly maps (N, 32, 32).
        types: defect type of each image, 0 = the set's first type or normal.
    """

    name: str
    images: Image
    maps: NDArray[np.float32]
    types: NDArray[np.int64]


def read_rgb(path: Path) -> Image:
    """A file as RGB (H, W, 3)."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"expected an image at {path}")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def neu_single_type(
    root: Path, split: str
) -> tuple[list[Image], list[NDArray[np.uint8]], NDArray[np.int64]]:
    """NEU-Seg images with one defect type only: images, masks (values 1..3), types.

    For evaluation; the training losses never see the labels.
    """
    images, masks, types = [], [], []
    for path in sorted((root / "neu_seg" / "annotations" / split).glob("*.png")):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise FileNotFoundError(f"expected a mask at {path}")
        found = np.unique(mask[mask > 0])
        if len(found) == 1:
            images.append(read_rgb(root / "neu_seg" / "images" / split / f"{path.stem}.jpg"))
            masks.append(np.asarray(mask, dtype=np.uint8))
            types.append(int(found[0]))
    return images, masks, np.array(types, dtype=np.int64)


@torch.inference_mode()
def patches(trunk: ResNet18Trunk, image: Image) -> Tensor:
    """ResNet-18 layers 2 and 3, 3x3-averaged, each of length one: (1024, 384)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    x = (torch.from_numpy(image).permute(2, 0, 1).float() / 255 - mean) / std
    x = x.unsqueeze(0).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        layers = [m.float() for m in trunk(x)[1:]]
    layers = [F.normalize(F.avg_pool2d(m, 3, 1, 1), dim=1) for m in layers]
    layers[1] = F.interpolate(layers[1], layers[0].shape[-2:], mode="bilinear")
    return torch.cat(layers, dim=1)[0].flatten(1).T


def anomaly_map(found: Tensor, memory: Tensor) -> NDArray[np.float32]:
    """Distance of each patch to the nearest in the memory, (32, 32)."""
    nearest = torch.cdist(found, memory).amin(1).view(32, 32)
    return nearest.numpy().astype(np.float32)


def grey(image: Image) -> Image:
    """Three equal channels, 256x256."""
    small = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
    single = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return np.repeat(np.asarray(single, dtype=np.uint8)[..., None], 3, axis=2)


def vary(rng: np.random.Generator, image: Image) -> Image:
    """Another piece of the ground under other light: crop, turn, gain, shading, blur, noise."""
    side = int(rng.integers(176, 257))
    y, x = rng.integers(0, 257 - side, 2)
    piece = cv2.resize(image[y : y + side, x : x + side], (256, 256))[..., :1].astype(np.float32)
    piece = np.rot90(piece, 2 * int(rng.integers(2)))[:, :: int(rng.choice((-1, 1)))]
    across, down = np.meshgrid(np.linspace(-1, 1, 256), np.linspace(-1, 1, 256))
    light = np.exp(rng.normal(0, 0.2)) * (piece[..., 0] - 128) + 128 + rng.normal(0, 20)
    light = light + rng.normal(0, 15) * across + rng.normal(0, 15) * down
    light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.3, 1.2)))
    light = light + rng.normal(0, rng.uniform(0, 6), light.shape)
    return np.repeat(np.clip(light, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def remember(parts: list[Tensor], count: int) -> Tensor:
    """Random rows of many patches, seed 0."""
    rows = torch.cat(parts)
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count]]


def generated_set(
    trunk: ResNet18Trunk,
    product: str,
    each: int,
    show: Callable[[Image], Image] = grey,
    strength: float = 1.0,
) -> PoolingSet:
    """24 images without and ``each`` of every type of defect; memory of 12 others."""
    kinds, normals = defect_types_of(product), 24
    good = [show(render(product, None, 3000 + i)[0]) for i in range(12)]
    memory = remember([patches(trunk, image) for image in good], 4000)
    images = [show(render(product, None, 4000 + i)[0]) for i in range(normals)]
    types = [0] * normals
    for number, kind in enumerate(kinds, start=1):
        images += [show(render(product, kind, 5000 + i, strength=strength)[0]) for i in range(each)]
        types += [number] * each
    maps = [anomaly_map(patches(trunk, image), memory) for image in images]
    return PoolingSet(product, np.stack(images), np.stack(maps), np.array(types, dtype=np.int64))


def neu_set(trunk: ResNet18Trunk, data: Path, each: int, remembered: int = 80) -> PoolingSet:
    """NEU-Seg's training images of one type; memory of clean patches of others."""
    images, masks, types = neu_single_type(data, "training")
    order = np.random.default_rng(9).permutation(len(images))
    bank = []
    for i in order[:remembered]:
        area = cv2.resize((masks[i] > 0).astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
        clean = cv2.dilate(area, np.ones((3, 3))).ravel() == 0
        bank.append(patches(trunk, grey(images[i]))[torch.from_numpy(clean)])
    memory = remember(bank, 8000)
    rest = order[remembered:]
    chosen = np.concatenate([rest[types[rest] == t][:each] for t in (1, 2, 3)])
    shown = [grey(images[i]) for i in chosen]
    maps = [anomaly_map(patches(trunk, image), memory) for image in shown]
    return PoolingSet("neu_seg", np.stack(shown), np.stack(maps), types[chosen] - 1)


def pooling_sets(data: Path, teachers: Path) -> list[PoolingSet]:
    """All sets, the same in every call."""
    trunk = ResNet18Trunk(teachers / "resnet18_trunk").eval()
    trunk.to(memory_format=torch.channels_last)
    sets = [generated_set(trunk, product, 10) for product in PRODUCTS]
    rng = np.random.default_rng(77)
    for product in VARIED:
        varied = generated_set(trunk, product, 8, lambda image: vary(rng, grey(image)))
        sets.append(replace(varied, name=f"{product}, varied"))
    return [*sets, neu_set(trunk, data, 60)]
