"""The embedded backbone beside its teachers: ``make bench-backbone``.

Prints and writes one table; every network in the same run, on the same images.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from research.common.backbone_measures import (
    SEEDS,
    TYPES,
    Labels,
    anomaly_maps,
    detection,
    forward_times,
    leave_one_out,
    map_weighted,
    mtd_paths,
    nearest_neighbours,
    patch_memory,
    read_image,
    read_mask,
    region_descriptors,
    ward,
)
from research.common.backbone_networks import Embedded, EqualLayers, Network, TinyViT, load_networks

NOTES = """# The embedded backbone beside its teachers

Written by this command; do not edit:

```
make bench-backbone
```

{table}

- Machine: {processor}, {cores} cores, {threads} threads, torch {torch}; {minutes} minutes,
  load average {load} at the end (well above {threads}: shared with other work){kept}.
- All networks compute in bfloat16 here, their features are compared in float32.
- Patch memory: images as 256x256 squares; ResNets layer2 + layer3, ViT blocks 4, 7, 10
  (counted from 0), embedded: its patch descriptors, whose layers have fixed lengths; 3x3
  average, finest grid, 12,000 random patches of the 761 training normals (seeds {seeds}),
  Euclidean nearest neighbour, image score = maximum of the map. Whitened: relative to what the
  memory varies in (lambda 1), maps smoothed by one cell, both chosen on generated images
  (docs/defaults.md).
- Pooling: weights = softmax of the 3x3-averaged map over half the deviation of all maps;
  K = 6 given; deterministic. The aim was written for "layers together". The embedded network has
  descriptors for pooling beside those of the patch memory. Sharper weights and taking off the
  image's mean helped on generated products and NEU-Seg's training split
  (research/pretraining/README.md).
  Whitened: relative to what 200 normal training images say under maps borrowed from test images
  (lambda 0.3, chosen on generated images).
- Class token: 224x224, true mask. CNN: mask-weighted mean of the last stage. ViT-Ti/16: class
  row guided in the last 9 of 12 blocks; embedded: in all. hard = AnomalyNCD's limit, the
  fullest patches always open; soft = beta 4, rho -1. NEU-Seg: 2,935 training and 608 test
  images of one type, cosine, majority of 20.
- A dash: not measured in this run, or the network has none.
- Test images of MTD and NEU-Seg were not seen in training; what was chosen, and by which
  figures, is in the model card.
"""
WEIGHTS = Path("src/protoanomalyncd/vit/weights")
Row = dict[str, Any]


def neu_regions(data: Path, split: str, size: int) -> tuple[list[Any], list[Any], Labels]:
    """NEU-Seg images with one defect type: images, masks, types."""
    images, masks, types = [], [], []
    for path in sorted((data / "neu_seg" / "annotations" / split).glob("*.png")):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise FileNotFoundError(f"expected a mask at {path}")
        found = np.unique(mask[mask > 0])
        if len(found) == 1:
            images.append(
                read_image(data / "neu_seg" / "images" / split / f"{path.stem}.jpg", size)
            )
            masks.append(read_mask(path, size))
            types.append(int(found[0]))
    return images, masks, np.array(types, dtype=np.int64)


def measure_memory(network: Network, data: Path, whitened: bool = False) -> Row:
    """Patch memory on MTD at 256 px: mean and spread over the seeds."""
    train, test, types = mtd_paths(data)
    memories = patch_memory(network, [read_image(p, 256) for p in train])
    maps = anomaly_maps(network, memories, [read_image(p, 256) for p in test], whitened)
    runs = [detection(m, types) for m in maps]
    out: Row = {k: statistics.mean(r[k] for r in runs) for k in runs[0]}
    out["seeds"] = [r["auroc"] for r in runs]
    return out


def equal_layers(network: Network) -> Network:
    """The same network with normalised layers: the ViT's map holds three of them.

    The embedded network's layers have lengths of their own.
    """
    if isinstance(network, Embedded):
        return network
    return EqualLayers(network, 3 if isinstance(network, TinyViT) else 1)


def measure_pooling(network: Network, data: Path, maps: Path) -> Row:
    """Map-weighted pooling and Ward, K = 6, on the given maps."""
    train, test, types = mtd_paths(data)
    raw = np.stack([np.load(maps / p.parent.parent.name / f"{p.stem}.npy") for p in test])
    images, normal = ([read_image(p, 256) for p in paths] for paths in (test, train))
    pooled = map_weighted(network, images, raw, normal)
    return {way: ward(features, types) for way, features in pooled.items()}


def measure_class_token(network: Network, data: Path) -> Row:
    """Region descriptors: NEU-Seg 20-NN, and leave-one-out 5-NN on MTD's defects."""
    train, test = neu_regions(data, "training", 224), neu_regions(data, "test", 224)
    _, paths, types = mtd_paths(data)
    defects = [(p, t) for p, t in zip(paths, types, strict=True) if t > 0]
    images = [read_image(p, 224) for p, _ in defects]
    masks = [read_mask(p.with_suffix(".png"), 224) for p, _ in defects]
    truth = np.array([t for _, t in defects], dtype=np.int64)
    a = region_descriptors(network, train[0], train[1])
    b = region_descriptors(network, test[0], test[1])
    c = region_descriptors(network, images, masks)
    return {
        way: {
            "neu": nearest_neighbours(a[way], train[2], b[way], test[2], 20),
            "mtd": leave_one_out(c[way], truth, 5),
        }
        for way in a
    }


def file_sizes(weights: Path, embedded: Path, networks: dict[str, Network]) -> dict[str, Row]:
    """Megabytes (10^6 bytes) in float32, and on disk."""
    folders = {
        "ResNet-18": weights / "resnet18_trunk",
        "ResNet-50": weights / "resnet50_layer3",
        "ViT-Ti/16": weights / "vit_tiny_patch16_224",
        "embedded": embedded,
    }
    out = {}
    for name, network in networks.items():
        floats = sum(p.numel() for p in network.module.state_dict().values())
        disk = sum(
            f.stat().st_size
            for f in folders[name].iterdir()
            if f.suffix in {".npy", ".safetensors"}
        )
        out[name] = {"float32": floats * 4 / 1e6, "disk": disk / 1e6}
    return out


def best_time(times: dict[str, float]) -> tuple[float, str]:
    """(ms, dtype) of the faster dtype."""
    dtype = min(times, key=lambda d: times[d])
    return times[dtype], dtype


def run(args: argparse.Namespace) -> dict[str, Row]:
    """All measures of all networks; finished ones are kept in ``--cache``."""
    torch.set_num_threads(args.threads)
    networks = load_networks(args.weights, args.embedded)
    if args.only:
        networks = {n: w for n, w in networks.items() if n in args.only}
    results: dict[str, Row] = {n: {} for n in networks}
    if args.cache and args.cache.exists():
        kept = json.loads(args.cache.read_text())
        results |= {n: kept[n] for n in kept if n not in args.fresh and n in results}
    jobs: dict[str, Callable[[Network], Row]] = {
        "token": lambda n: measure_class_token(n, args.data),
        "pooling": lambda n: measure_pooling(n, args.data, args.maps / "mtd_fused"),
        "memory": lambda n: measure_memory(n, args.data),
        "memory_equal": lambda n: measure_memory(equal_layers(n), args.data),
        "memory_white": lambda n: measure_memory(equal_layers(n), args.data, whitened=True),
    }
    for job, measure in jobs.items():
        for name, network in networks.items():
            if args.assemble or job.split("_")[0] in args.skip or job in results[name]:
                continue
            if job == "memory_equal" and isinstance(network, Embedded):
                results[name][job] = results[name]["memory"]  # its layers have a length already
            else:
                results[name][job] = measure(network)
            print(f"{name:10s} {job:8s} {json.dumps(results[name][job])}", flush=True)
            if args.cache:
                args.cache.write_text(json.dumps(results))
    for name, size in file_sizes(args.weights, args.embedded, networks).items():
        results[name]["file"] = size
    modules = {n: w.module for n, w in networks.items()}
    for batch in (1, 8) if args.repeats else ():
        for name, times in forward_times(modules, 256, batch, args.repeats).items():
            results[name][f"batch{batch}"] = times
    return results


def memory_cell(job: str, row: Row) -> str:
    """Mean image AUROC and its range over the seeds."""
    if job not in row:
        return "-"
    memory = row[job]
    return f"{memory['auroc']:.3f} ({min(memory['seeds']):.3f}-{max(memory['seeds']):.3f})"


def type_cell(job: str, kind: str, row: Row) -> str:
    """Image AUROC of one defect type."""
    return f"{row[job][kind]:.3f}" if job in row else "-"


def pooling_cell(way: str, row: Row) -> str:
    """NMI / ARI / F1."""
    if way not in row.get("pooling", {}):
        return "-"
    return " / ".join(f"{row['pooling'][way][k]:.3f}" for k in ("nmi", "ari", "f1"))


def token_cell(key: str, row: Row) -> str:
    """Accuracy by way of guidance."""
    return ", ".join(f"{way} {v[key]:.3f}" for way, v in row.get("token", {}).items()) or "-"


def file_cell(row: Row) -> str:
    """Megabytes in float32 and as stored."""
    return f"{row['file']['float32']:.1f} ({row['file']['disk']:.1f})"


def time_cell(batch: int, base: float, row: Row) -> str:
    """Milliseconds an image, dtype, multiple of ``base``."""
    value, dtype = best_time(row[f"batch{batch}"])
    return f"{value:.1f} {dtype} ({value / base:.2f})"


def table(results: dict[str, Row]) -> str:
    """The results as a Markdown table."""
    rows: list[tuple[str, Callable[[Row], str]]] = []
    if any("memory" in r for r in results.values()):
        title = "patch memory, MTD image AUROC, {}: mean (range over memories)"
        rows.append((title.format("layers as they are"), partial(memory_cell, "memory")))
        equal = title.format("each layer of length one")
        rows.append((equal, partial(memory_cell, "memory_equal")))
        rows += [(f"... {k}", partial(type_cell, "memory_equal", k.lower())) for k in TYPES]
        white = title.format("the same, whitened and smoothed (the default)")
        rows.append((white, partial(memory_cell, "memory_white")))
        rows += [(f"... {k}", partial(type_cell, "memory_white", k.lower())) for k in TYPES]
    if any("pooling" in r for r in results.values()):
        title = "map-weighted pooling + Ward, `mtd_fused`, {}: NMI / ARI / F1"
        rows.append((title.format("layers together"), partial(pooling_cell, "together")))
        rows.append((title.format("each layer normalised"), partial(pooling_cell, "each")))
        rows.append((title.format("weights twice as sharp"), partial(pooling_cell, "sharper")))
        rows.append((title.format("less the image's mean"), partial(pooling_cell, "contrast")))
        rows.append(
            (title.format("the patch memory's descriptors"), partial(pooling_cell, "patches"))
        )
        title = "map-guided class token + Ward, `mtd_fused`: NMI / ARI / F1"
        rows.append((title, partial(pooling_cell, "token")))
        title = "pooling and class token side by side + Ward, `mtd_fused`: NMI / ARI / F1"
        rows.append((title, partial(pooling_cell, "both")))
        for way, what in (
            ("together", "map-weighted pooling"),
            ("token", "map-guided class token"),
            ("both", "pooling and class token side by side"),
        ):
            title = f"{what}, whitened by normal images + Ward, `mtd_fused`: NMI / ARI / F1"
            rows.append((title, partial(pooling_cell, f"{way}, whitened")))
    if any("token" in r for r in results.values()):
        title = "class token or masked mean, true masks, {}"
        rows.append((title.format("NEU-Seg 20-NN accuracy"), partial(token_cell, "neu")))
        rows.append(
            (title.format("MTD leave-one-out 5-NN (reported only)"), partial(token_cell, "mtd"))
        )
    rows.append(("file, MB: float32 (as stored)", file_cell))
    for batch in (1, 8) if "batch1" in results.get("ResNet-18", {}) else ():
        base = best_time(results["ResNet-18"][f"batch{batch}"])[0]
        title = f"forward 256x256, batch {batch}, ms an image (times ResNet-18)"
        rows.append((title, partial(time_cell, batch, base)))
    names = list(results)
    lines = ["| measure | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {t} | " + " | ".join(cell(results[n]) for n in names) + " |" for t, cell in rows]
    return "\n".join(lines)


def processor() -> str:
    """Name of the processor, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next(
        (x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "unknown"
    )


def document(results: dict[str, Row], args: argparse.Namespace, seconds: float) -> str:
    """The whole page."""
    load = os.getloadavg()[0]
    return NOTES.format(
        table=table(results),
        processor=processor(),
        cores=os.cpu_count(),
        threads=args.threads,
        torch=torch.__version__,
        minutes=f"{seconds / 60:.0f}",
        load=f"{load:.1f}",
        kept="; rows kept from earlier runs of the same command and machine" if args.cache else "",
        seeds=", ".join(map(str, SEEDS)),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="folder of the teachers")
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--embedded", type=Path, default=WEIGHTS)
    parser.add_argument("--cache", type=Path, help="keep finished rows here between runs")
    parser.add_argument("--fresh", nargs="*", default=["embedded"], help="rows measured anyway")
    parser.add_argument("--skip", nargs="*", default=[], choices=["token", "pooling", "memory"])
    parser.add_argument("--assemble", action="store_true", help="rows from --cache, times anew")
    parser.add_argument("--only", nargs="*", help="names of networks, all without it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15, help="timed forward passes")
    args = parser.parse_args()
    start = time.perf_counter()
    results = run(args)
    page = document(results, args, time.perf_counter() - start)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(page)
    print(table(results))


if __name__ == "__main__":
    main()
