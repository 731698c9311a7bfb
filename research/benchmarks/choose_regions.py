"""Which settings of the default MEBin find defects best, on data that is no test set.

    .venv/bin/python research/benchmarks/choose_regions.py [--shared ../shared]

Maps come from a patch memory on the ResNet-18 of the shared folder (32 x 32, layers 2 and 3), on
generated images (held-out normals, normals, five of each defect type of nine products) and on 260
images of NEU-Seg's training split (its memory: patches without defect of 220 others). No MTD image
is read. Prints the tables of ``docs/defaults.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.core.records import MapRange
from protoanomalyncd.datasets.generated import PRODUCTS, defect_types_of, render
from protoanomalyncd.regions import (
    Binarisation,
    background_level,
    binarise,
    fit_range,
    mebin,
)
from research.published.binarisation import range_of_maxima, reference_binarise

THIN = {"crack", "scratch", "scratches"}
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@dataclass
class MapSet:
    """Maps (n, 32, 32), true masks, kind ("heldout", "good" or a defect) and product of each."""

    maps: np.ndarray
    masks: list[np.ndarray]
    kinds: np.ndarray
    groups: np.ndarray


class Detector:
    """Patch memory on the ResNet-18 trunk."""

    def __init__(self, folder: Path) -> None:
        self.w = {f.name[:-4]: torch.from_numpy(np.load(f)) for f in folder.glob("*.npy")}

    def _conv(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, self.w[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def _stage(self, x: torch.Tensor, name: str, stride: int) -> torch.Tensor:
        for block, step in ((f"{name}.0", stride), (f"{name}.1", 1)):
            y = self._conv(F.relu(self._conv(x, f"{block}.conv1", step)), f"{block}.conv2")
            down = f"{block}.downsample.0"
            x = F.relu(y + (self._conv(x, down, step) if f"{down}.weight" in self.w else x))
        return x

    @torch.inference_mode()
    def patches(self, image: np.ndarray) -> torch.Tensor:
        """Features of 32 x 32 patches, (1024, 384)."""
        x = torch.from_numpy(cv2.resize(image, (256, 256))).permute(2, 0, 1).float() / 255
        x = F.max_pool2d(F.relu(self._conv(((x - MEAN) / STD)[None], "conv1", 2)), 3, 2, 1)
        second = self._stage(self._stage(x, "layer1", 1), "layer2", 2)
        third = F.avg_pool2d(self._stage(second, "layer3", 2), 3, 1, 1)
        third = F.interpolate(third, size=(32, 32), mode="bilinear")
        return torch.cat([F.avg_pool2d(second, 3, 1, 1), third], 1)[0].flatten(1).T.contiguous()

    def score(self, image: np.ndarray, memory: torch.Tensor) -> np.ndarray:
        """Distance of each patch to its nearest neighbour in the memory, (32, 32)."""
        return torch.cdist(self.patches(image), memory).min(1).values.view(32, 32).numpy()


def subset(patches: list[torch.Tensor], n: int, rng: np.random.Generator) -> torch.Tensor:
    """At most n random patches."""
    together = torch.cat(patches)
    return together[torch.from_numpy(rng.permutation(len(together))[:n])]


def generated(detector: Detector, rng: np.random.Generator) -> MapSet:
    """Nine products: 12 held-out normals, 10 normals, 5 images a defect type."""
    rows = []
    for product in PRODUCTS:
        memory = subset(
            [detector.patches(render(product, None, 1000 + i)[0]) for i in range(20)], 5000, rng
        )
        items: list[tuple[str, str | None, int]]
        items = [("heldout", None, 2000 + i) for i in range(12)]
        items += [("good", None, i) for i in range(10)]
        items += [(d, d, i) for d in defect_types_of(product) for i in range(5)]
        for kind, defect, seed in items:
            image, mask = render(product, defect, seed)
            rows.append((detector.score(image, memory), mask, kind, product))
    return map_set(rows)


def neu_seg(detector: Detector, folder: Path, rng: np.random.Generator) -> MapSet:
    """NEU-Seg's training split; it holds no image without a defect."""
    files = sorted((folder / "images" / "training").iterdir())
    files = [files[i] for i in rng.permutation(len(files))[:480]]
    truth = {f.stem: f for f in (folder / "annotations" / "training").iterdir()}
    memory, rows = [], []
    for number, file in enumerate(files):
        classes = np.asarray(cv2.imread(str(truth[file.stem]), cv2.IMREAD_GRAYSCALE))
        image = np.asarray(cv2.imread(str(file)))[..., ::-1].copy()
        if number < 220:
            share = cv2.resize(
                (classes > 0).astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA
            )
            clean = cv2.dilate(share, np.ones((3, 3))).ravel() == 0
            memory.append(detector.patches(image)[torch.from_numpy(clean)])
            continue
        if number == 220:
            bank = subset(memory, 12_000, rng)
        found = sorted(set(np.unique(classes).tolist()) - {0})
        kind = ("", "inclusion", "patches", "scratches")[found[0]] if len(found) == 1 else "mixed"
        rows.append((detector.score(image, bank), classes > 0, kind, "neu_seg"))
    return map_set(rows)


def map_set(rows: list[tuple[np.ndarray, np.ndarray, str, str]]) -> MapSet:
    """Columns of rows."""
    maps, masks, kinds, groups = zip(*rows, strict=True)
    return MapSet(np.stack(maps), list(masks), np.array(kinds), np.array(groups))


def true_components(mask: np.ndarray) -> int:
    """Components of a true mask, specks left out."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return int((stats[1:, cv2.CC_STAT_AREA] >= max(4, mask.size * 2e-4)).sum())


def box_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of the bounding boxes of two masks."""
    a, b = (np.array(cv2.boundingRect(m.astype(np.uint8))) for m in (first, second))
    overlap = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.maximum(overlap, 0).prod())
    return shared / (float(a[2:].prod()) + float(b[2:].prod()) - shared)


def evaluate(
    data: MapSet,
    config: MEBinConfig,
    rule: Callable[..., MapRange],
    cut: Callable[..., Binarisation] = binarise,
) -> str:
    """One line of figures."""
    columns: list[list[float]] = [[] for _ in range(7)]
    iou, boxes, hit, thin, pixels, count, false = columns
    maxima = data.maps.max(axis=(1, 2))
    for group in np.unique(data.groups):
        test = (data.groups == group) & (data.kinds != "heldout")
        held = (data.groups == group) & (data.kinds == "heldout")
        limits = rule(maxima[test], maxima[held], data.maps[test], config)
        for i in np.flatnonzero(test):
            found, truth = cut(data.maps[i], limits, config), data.masks[i]
            mask = cv2.resize(
                found.mask.view(np.uint8), truth.shape[::-1], interpolation=cv2.INTER_NEAREST
            ).astype(bool)
            if not truth.any():
                false.append(bool(mask.any()))
                continue
            met = (mask & truth).sum()
            iou.append(met / (mask | truth).sum())
            boxes.append(box_iou(mask, truth) if mask.any() else 0.0)
            hit.append(met > 0)
            count.append(abs(found.n_components - true_components(truth)))
            if data.kinds[i] in THIN:
                thin.append(met > 0)
                pixels.append(met / truth.sum())
    values = (iou, boxes, hit, thin, pixels, count, false or [np.nan])
    return " | ".join(f"{np.mean(v):.3f}" for v in values)


def by_normals(
    maxima: np.ndarray, normal: np.ndarray, maps: np.ndarray, config: MEBinConfig
) -> MapRange:
    """The default rule."""
    del maps
    return fit_range(maxima, normal, config)


def by_smallest(
    maxima: np.ndarray, normal: np.ndarray, maps: np.ndarray, config: MEBinConfig
) -> MapRange:
    """The reference's rule."""
    del maps
    return range_of_maxima(maxima, normal, config)


def reference(amap: np.ndarray, limits: MapRange, config: MEBinConfig) -> Binarisation:
    """The reference's masks; it has no settings of ours."""
    del config
    return reference_binarise(amap, limits)


def by_background(quantile: float | None) -> Callable[..., MapRange]:
    """The rule for sets without normals; None = `background_level`."""

    def rule(
        maxima: np.ndarray, normal: np.ndarray, maps: np.ndarray, config: MEBinConfig
    ) -> MapRange:
        del normal
        each = [background_level(m) if quantile is None else np.quantile(m, quantile) for m in maps]
        return fit_range(maxima, None, config, background=float(np.median(each)))

    return rule


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    shared = parser.parse_args().shared
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    detector = Detector(shared / "weights" / "resnet18_trunk")
    plain = MEBinConfig()
    head = "| IoU | box IoU | hit | thin hit | thin pixels | count error | false |"
    data = generated(detector, rng)
    print(f"\n| generated {head}\n|---{'|---' * 7}|")
    print(f"| reference | {evaluate(data, plain, by_smallest, reference)} |")
    print(f"| **default** | {evaluate(data, plain, by_normals)} |")
    variants: tuple[tuple[str, tuple[float, ...]], ...] = (
        ("run_position", (0.25, 0.75, 1.0)),
        ("min_run", (1, 3, 4)),
        ("min_area", (0, 2, 4)),
        ("erosion", (2, 3)),
        ("normal_quantile", (0.25, 0.75, 0.9, 1.0)),
        ("step", (2,)),
    )
    for name, values in variants:
        for value in values:
            changed = MEBinConfig(**{**asdict(plain), name: value})
            figures = evaluate(data, changed, by_normals)
            print(f"| {name} = {value} | {figures} |", flush=True)
    chosen = mebin.UPSAMPLING
    for factor in (1, 2, 4, 5):
        mebin.UPSAMPLING = factor
        print(f"| upsampling = {factor} | {evaluate(data, plain, by_normals)} |")
    mebin.UPSAMPLING = chosen
    data = neu_seg(detector, shared / "data" / "neu_seg", rng)
    print(f"\n| NEU-Seg, training split {head}\n|---{'|---' * 7}|")
    print(f"| reference | {evaluate(data, plain, by_smallest, reference)} |")
    print(f"| default, the reference's range | {evaluate(data, plain, by_normals)} |")
    print(f"| **default, `background_level`** | {evaluate(data, plain, by_background(None))} |")
    for quantile in (0.25, 0.5, 0.75):
        figures = evaluate(data, plain, by_background(quantile))
        print(f"| background = quantile {quantile} | {figures} |")


if __name__ == "__main__":
    main()
