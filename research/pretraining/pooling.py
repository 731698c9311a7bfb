"""Figures by which pooling was chosen: ``python -m research.pretraining.pooling``.

Ward clustering of map-weighted means on the sets of ``pooling_sets.py``, K given: mean NMI / ARI /
F1 over the sets and the accuracy of five neighbours, for two teachers and for the descriptors of
a run, made of all heads or of the ResNets' alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from research.common.backbone_measures import half_maps, leave_one_out, ward
from research.common.backbone_networks import Network, load_networks
from research.common.pooling_sets import PoolingSet, pooling_sets

from .export import export
from .selection import MIXTURES

Pooled = dict[str, Tensor]
VARIANTS: dict[str, Callable[[Pooled], Tensor]] = {
    "weights": lambda p: p["0.5"],
    "sharper weights": lambda p: p["0.25"],
    "softer weights": lambda p: p["1"],
    "scale of the image": lambda p: p["image"],
    "less half the mean": lambda p: p["0.5"] - 0.5 * p["mean"],
    "less the mean": lambda p: p["0.5"] - p["mean"],
    "less the quiet half": lambda p: p["0.5"] - p["quiet"],
    "less the set's mean": lambda p: p["0.5"] - p["mean"].mean(0),
}
"""Each gives the vectors (N, D) of a set, before they get unit length."""


def weights_of(maps: Tensor, grid: tuple[int, int]) -> Pooled:
    """Weights (N, P) of several kinds on a grid, of smoothed maps (N, 1, h, w)."""
    part = F.adaptive_avg_pool2d(maps, grid).flatten(1)
    out = {f"{t:g}": (part / (t * maps.std())).softmax(1) for t in (0.25, 0.5, 1.0)}
    out["image"] = (part / (0.5 * part.std(1, keepdim=True))).softmax(1)
    out["mean"] = torch.full_like(part, 1 / part.shape[1])
    quiet = (part <= part.median(1, keepdim=True).values).float()
    return out | {"quiet": quiet / quiet.sum(1, keepdim=True)}


@torch.inference_mode()
def pool(network: Network, task: PoolingSet) -> Pooled:
    """The network's maps under every kind of weights, layers side by side: (N, D) each."""
    raw = torch.from_numpy(task.maps).unsqueeze(1)
    maps = F.avg_pool2d(raw, 3, 1, 1, count_include_pad=False)
    kept: dict[tuple[int, int], Pooled] = {}
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(task.images), 8):
        rows: dict[str, list[Tensor]] = {}
        for layer in half_maps(network, list(task.images[start : start + 8])):
            grid = (layer.shape[2], layer.shape[3])
            if grid not in kept:
                kept[grid] = weights_of(maps, grid)
            for kind, weights in kept[grid].items():
                chosen = weights[start : start + 8].unsqueeze(1)
                rows.setdefault(kind, []).append((layer.flatten(2) * chosen).sum(2))
        for kind, layers in rows.items():
            parts.setdefault(kind, []).append(torch.cat(layers, dim=1))
    return {kind: torch.cat(rows_of) for kind, rows_of in parts.items()}


def scores(vectors: Tensor, task: PoolingSet) -> list[float]:
    """NMI, ARI, F1 of Ward, and the leave-one-out accuracy of five neighbours."""
    unit = F.normalize(vectors, dim=1)
    found = ward(unit.numpy(), task.types, int(task.types.max()) + 1)
    centred = F.normalize(unit - unit.mean(0), dim=1)
    return [found["nmi"], found["ari"], found["f1"], leave_one_out(centred, task.types, 5)]


def networks(run: Path, teachers: Path) -> dict[str, Network]:
    """Two teachers, and the run's network with two kinds of descriptors."""
    out: dict[str, Network] = {}
    for mixture in ("all", "resnets"):
        with tempfile.TemporaryDirectory() as folder:
            export(run, Path(folder), MIXTURES[mixture])
            found = load_networks(teachers, Path(folder))
        out |= {n: found[n] for n in ("ResNet-18", "ResNet-50") if n not in out}
        out[f"embedded, {mixture}"] = found["embedded"]
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tasks = pooling_sets(args.data, args.teachers)
    for name, network in networks(args.run, args.teachers).items():
        pooled = [pool(network, task) for task in tasks]
        for title, variant in VARIANTS.items():
            rows = [scores(variant(p), t) for p, t in zip(pooled, tasks, strict=True)]
            means = " / ".join(f"{v:.3f}" for v in np.mean(rows, axis=0))
            each = " ".join(f"{row[0]:.2f}" for row in rows)
            print(f"{name:18s} {title:20s} {means}   NMI by set {each}", flush=True)


if __name__ == "__main__":
    main()
