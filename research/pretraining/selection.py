"""Figures by which descriptors and training choices are made, without any test image.

``python -m research.pretraining.selection --run RUN --data D`` prints, for several mixtures of
teacher layers and two geometries: the image AUROC of a patch memory on crops with
generated defects (on MTD normals, most of them training images too, and on generated textures), and
the class token's 20-NN accuracy on a held-out fifth of NEU-Seg's training split.
NEU-Seg's labels are used here to choose, never in a training loss.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from research.common.pooling_sets import neu_single_type
from research.common.pyramid import embed, forward_pyramid
from research.common.teachers import TargetSpace

from .data import load_mtd_normals
from .export import DESCRIPTORS, MIXTURE, export, fold_descriptors, load_student
from .student import DESCRIPTOR_WEIGHTS, EmbeddedViT
from .textures import Image, add_defect, texture
from .train import normalise

LENGTHS: dict[str, tuple[float, float, float] | None] = {
    "as-is": None,
    "chosen": DESCRIPTOR_WEIGHTS,
    "equal": (1.0, 1.0, 1.0),
    "tokens": (0.01, 1.0, 1.0),
    "last": (0.01, 0.01, 1.0),
}
"""Lengths of the three descriptor layers, or None for unnormalised layers."""

MIXTURES: dict[str, dict[str, float]] = {
    "all": MIXTURE,
    "deep": MIXTURE | {"r18_l2": 0.5, "r50_l2": 0.5},
    "deeper": MIXTURE | {"r18_l2": 0.2, "r50_l2": 0.2},
    "deepest": MIXTURE | {"r18_l2": 0.05, "r50_l2": 0.05},
    "shallow": MIXTURE | {"r18_l2": 2.0, "r50_l2": 2.0},
    "resnet50": {"r50_l2": 1.0, "r50_l3": 1.0},
    "resnets": {"r18_l2": 1.0, "r50_l2": 1.0, "r18_l3": 1.0, "r50_l3": 1.0},
    "vit": {"vit_4": 1.0, "vit_7": 1.0, "vit_10": 1.0},
}


def detection_sets(
    data: Path, seed: int = 7
) -> list[tuple[list[Image], list[Image], NDArray[np.int64]]]:
    """(normals, test images, 1 = generated defect) for MTD normals and four textures."""
    rng = np.random.default_rng(seed)
    normals = load_mtd_normals(data)
    rng.shuffle(normals)
    sets = [(normals[:160], normals[160:280])]
    for _ in range(4):
        image, crops = texture(rng, 768), []
        for _ in range(36):
            y, x = rng.integers(0, 512, 2)
            crops.append(image[y : y + 256, x : x + 256])
        sets.append((crops[:12], crops[12:]))
    out = []
    for train, test in sets:
        labels = np.arange(len(test)) % 2
        shown = [
            add_defect(rng, im, test[(i + 1) % len(test)])[0] if labels[i] else im
            for i, im in enumerate(test)
        ]
        out.append((train, shown, labels))
    return out


def grid_features(maps: list[Tensor]) -> Tensor:
    """Maps -> (B, P, D) on the finest grid, 3x3-averaged."""
    smooth = [F.avg_pool2d(m.float(), 3, 1, 1, count_include_pad=False) for m in maps]
    full = [
        smooth[0],
        *(F.interpolate(m, smooth[0].shape[-2:], mode="bilinear") for m in smooth[1:]),
    ]
    return torch.cat(full, dim=1).flatten(2).transpose(1, 2)


@torch.inference_mode()
def stage_features(model: EmbeddedViT, images: list[Image]) -> tuple[Tensor, Tensor]:
    """What the descriptor layers read: (N, 128, h, w) and (N, 512, h/2, w/2)."""
    fine, coarse = [], []
    for start in range(0, len(images), 8):
        x = normalise(np.stack(images[start : start + 8]))[1]
        out = forward_pyramid(model, x)
        tokens, s8 = out["tokens"], out["s8"]
        if not isinstance(s8, Tensor):
            raise TypeError("expected a tensor")
        middle, last = tokens[2], model.norm(tokens[-1])
        both = torch.cat([F.layer_norm(middle, middle.shape[-1:]), last], dim=-1)
        fine.append(s8)
        coarse.append(both.transpose(1, 2).unflatten(2, (s8.shape[2] // 2, s8.shape[3] // 2)))
    return torch.cat(fine), torch.cat(coarse)


def describe(
    features: tuple[Tensor, Tensor],
    weights: dict[str, Tensor],
    lengths: tuple[float, float, float] | None = DESCRIPTOR_WEIGHTS,
) -> list[Tensor]:
    """Stage features through candidate descriptor layers, each of a length or as it is."""
    fine, coarse = features
    inputs = (fine, *coarse.chunk(2, dim=1))
    found = []
    for i, (x, name) in enumerate(zip(inputs, DESCRIPTORS.values(), strict=True)):
        y = F.conv2d(x, weights[f"{name}.weight"][:, :, None, None], weights[f"{name}.bias"])
        found.append(y if lengths is None else lengths[i] * F.normalize(y, dim=1))
    return [found[0], torch.cat(found[1:], dim=1)]


def auroc(train: Tensor, test: Tensor, labels: NDArray[np.int64]) -> float:
    """Image AUROC of the largest distance to 4,000 random normal patches."""
    rows = train.flatten(0, 1)
    memory = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:4000]]
    centre = memory.mean(0)
    half = (memory - centre).to(torch.bfloat16).T.contiguous()
    norm = (memory - centre).square().sum(1)
    scores = []
    for patches in test:
        x = patches - centre
        products = (x.to(torch.bfloat16) @ half).float()
        scores.append(float((norm - 2 * products).amin(1).add(x.square().sum(1)).max()))
    return float(roc_auc_score(labels, scores))


@torch.inference_mode()
def class_token_accuracy(
    model: EmbeddedViT, data: Path, limit: int | None = None
) -> dict[str, float]:
    """20-NN accuracy on the last fifth of NEU-Seg's training images of one type."""
    images, masks, types = neu_single_type(data, "training")
    order = np.random.default_rng(0).permutation(len(images))[:limit]
    tokens: dict[str, list[Tensor]] = {"hard": [], "soft": [], "none": []}
    for start in range(0, len(order), 32):
        part = order[start : start + 32]
        x = normalise(np.stack([cv2.resize(images[i], (224, 224)) for i in part]).astype(np.uint8))[
            1
        ]
        area = torch.from_numpy(
            np.stack([(masks[i] > 0).astype(np.float32) for i in part])
        ).unsqueeze(1)
        a = F.adaptive_avg_pool2d(F.interpolate(area, (224, 224), mode="area"), 14).flatten(1)
        level = torch.minimum(torch.tensor(0.5), a.amax(1, keepdim=True))
        hard = torch.zeros_like(a).masked_fill(a < level, -1e9)
        bias = torch.stack([hard, 4 * (2 * a - 1), torch.zeros_like(a)], dim=1)
        for k, found in zip(tokens, embed(model, x, bias).unbind(1), strict=True):
            tokens[k].append(F.normalize(found, dim=1))
    labels = torch.from_numpy(types[order])
    cut = len(order) * 4 // 5
    out = {}
    for k, parts in tokens.items():
        z = torch.cat(parts)
        near = labels[:cut][(z[cut:] @ z[:cut].T).topk(20, dim=1).indices]
        votes = F.one_hot(near, 4).sum(1)
        out[k] = round(float((votes.argmax(1) == labels[cut:]).float().mean()), 4)
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--neu", type=int, default=1500, help="NEU-Seg images, at most")
    parser.add_argument("--skip", nargs="*", default=[], choices=["token", "detection"])
    parser.add_argument("--mixtures", nargs="*", default=list(MIXTURES), choices=list(MIXTURES))
    parser.add_argument("--powers", nargs="*", type=float, default=[0.0, 1.0])
    parser.add_argument("--lengths", nargs="*", default=list(LENGTHS), choices=list(LENGTHS))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    export(args.run, args.run / "export")
    model = timm.create_model(f"local-dir:{args.run / 'export'}", pretrained=True).eval()
    if not isinstance(model, EmbeddedViT):
        raise TypeError("expected the embedded backbone")
    if "token" not in args.skip:
        accuracy = class_token_accuracy(model, args.data, args.neu)
        print("class token", json.dumps(accuracy), flush=True)
    if "detection" in args.skip:
        return
    student, space = load_student(args.run), TargetSpace.load(args.run / "targets.safetensors")
    sets = [
        (stage_features(model, a), stage_features(model, b), y)
        for a, b, y in detection_sets(args.data)
    ]
    for name in args.mixtures:
        mixture = MIXTURES[name]
        for power in args.powers:
            weights = fold_descriptors(student, space, mixture, power)
            for title in args.lengths:
                ways = [
                    (describe(a, weights, LENGTHS[title]), describe(b, weights, LENGTHS[title]), y)
                    for a, b, y in sets
                ]
                figures = [auroc(grid_features(a), grid_features(b), y) for a, b, y in ways]
                rounded = [round(f, 3) for f in figures]
                mean = round(float(np.mean(figures)), 4)
                print(f"{name:9s} power {power:.0f} {title:7s}", rounded, mean, flush=True)


if __name__ == "__main__":
    main()
