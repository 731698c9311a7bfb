"""Speed and memory, ours beside AnomalyNCD's: ``make bench-speed`` -> docs/benchmarks.md.

    .venv/bin/python -m research.benchmarks.speed --reference CHECKOUT --out docs/benchmarks.md

Both sides get the same images, maps, labelled base, backbone weights (ViT-Ti/16) and number of
threads. CHECKOUT is a copy of https://github.com/HUST-SLOW/AnomalyNCD outside this repository;
without it its rows say "not run". Every part runs in a process of its own, one after the other,
and its result is kept in WORK/results.json: a benchmark that was interrupted goes on, and parts may
be run one by one (``--again`` measures them anew). ``--limit`` takes a few images only, to try it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from research.benchmarks.speed_ours import multiplied
from research.benchmarks.speed_page import write_page

PARTS = ("mebin", "training", "inference", "guided", "memory", "scaling")
ROOT = Path(__file__).parents[1]
DRAWN_PER_TYPE = 24


class Bench:
    """The measurements made so far, and how to make one more.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work: Path = options.work.absolute()
        self.work.mkdir(parents=True, exist_ok=True)
        self.file = self.work / "results.json"
        self.results: dict[str, Any] = (
            json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else {}
        )

    def measure(self, key: str, module: str, part: list[str], given: dict[str, Any]) -> None:
        """Run a part in a child process unless its result is there."""
        if key in self.results and not self.options.again:
            print(f"{key}: measured before", flush=True)
            return
        given = {"threads": self.options.threads, "repeats": self.options.repeats} | given
        asked, told = self.work / "given.json", self.work / "told.json"
        told.unlink(missing_ok=True)
        asked.write_text(json.dumps(given), encoding="utf-8")
        command = [sys.executable, "-m", module, *part, str(asked), str(told)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode or not told.is_file():
            print(f"{key}: failed with status {done.returncode}", flush=True)
            return
        self.keep(key, json.loads(told.read_text(encoding="utf-8")))

    def keep(self, key: str, value: Any) -> None:
        """Note a result."""
        self.results[key] = value
        self.file.write_text(json.dumps(self.results, indent=1), encoding="utf-8")
        print(f"{key}: {json.dumps(value)[:300]}", flush=True)


def prepare(options: argparse.Namespace, work: Path) -> Path:
    """Images, maps and base in the layouts of both sides, from the same files."""
    from protoanomalyncd.datasets import load_labelled, prepare_mtd, prepare_neu_seg, take_per_class

    data = work / f"data-{options.limit or 'all'}"
    if (data / "complete").is_file():
        return data
    shutil.rmtree(data, ignore_errors=True)
    prepare_mtd(options.shared / "data" / "mtd", data / "whole")
    prepare_neu_seg(options.shared / "data" / "neu_seg", data / "neu")
    per_class = 100 if options.limit is None else 4
    for sample in take_per_class(load_labelled(data / "neu"), per_class, seed=0).samples:
        for path, kind in ((sample.path, "images"), (sample.mask_path, "masks")):
            if path is not None:
                copy(path, data / "neubase" / kind / str(sample.label) / path.name)
    files = sorted((options.shared / "maps" / "mtd_fused").rglob("*.npy"))
    chosen = files if options.limit is None else files[:: -(-len(files) // options.limit)]
    prepare_maps(chosen, data)
    (data / "complete").touch()
    return data


def prepare_maps(files: list[Path], data: Path) -> None:
    """The images of these maps for both sides; for the reference maps of 8 bits, 256 x 256."""
    import cv2

    raw = [np.load(file) for file in files]
    low, high = min(float(r.min()) for r in raw), max(float(r.max()) for r in raw)
    images = {path.stem: path for path in (data / "whole" / "test").rglob("*.jpg")}
    # The layout with train/good is what gives test images their true class, for the metrics.
    normal = min((data / "whole" / "train" / "good").glob("*.jpg"))
    copy(normal, data / "ours" / "train" / "good" / normal.name)
    for file, values in zip(files, raw, strict=True):
        image = images[file.stem]
        kind = image.parent.name
        copy(image, data / "ours" / "test" / kind / image.name)
        copy(image, data / "images" / kind / image.name)
        copy(file, data / "maps" / "test" / kind / file.name)
        eight_bit = ((values - low) / (high - low) * 255).astype(np.uint8)
        target = data / "maps8" / "tiles" / kind / f"{file.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), cv2.resize(eight_bit, (256, 256)))


def copy(source: Path, target: Path) -> None:
    """Copy a file, making its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def compare(bench: Bench, parts: set[str]) -> None:
    """Training and inference of both sides."""
    options = bench.options
    data = prepare(options, bench.work)
    n_images = sum(1 for _ in (data / "ours" / "test").rglob("*.jpg"))
    weights = (options.shared / "weights" / "vit_tiny_patch16_224").absolute()
    given = {
        "data": str(data),
        "work": str(bench.work / "ours"),
        "backbone": f"local-dir:{weights}",
        "precision": options.precision,
        "seeds": options.seeds,
    }
    for part in ("training", "inference"):
        if part in parts:
            bench.measure(part, "research.benchmarks.speed_ours", [part], given)
    if options.reference is not None and parts & {"training", "inference"}:
        theirs = {
            "data": str(data),
            "weights": str(weights),
            "reference": str(options.reference.absolute()),
            "epochs": options.reference_epochs if "training" in parts else 0,
            "n_images": n_images,
        }
        for seed in options.reference_seeds:
            first = seed == options.reference_seeds[0]
            key = "reference" if first else f"reference/{seed}"
            repeats = options.repeats if first else 1
            own = {"seed": seed, "repeats": repeats, "work": str(bench.work / f"theirs-{seed}")}
            bench.measure(key, "research.benchmarks.speed_reference", [], theirs | own)
    if "memory" in parts:
        given["work"] = str(bench.work / "memory")
        bench.measure("memory", "research.benchmarks.speed_ours", ["memory"], given)


def scale(bench: Bench) -> None:
    """The whole job on generated sets of growing size and of growing numbers of classes."""
    from protoanomalyncd.datasets.generated import Counts, generate

    options = bench.options
    drawn = bench.work / f"drawn-{options.image_size}"
    if not drawn.is_dir():
        generate(
            drawn,
            "leather",
            counts=Counts(normal=40, per_type=DRAWN_PER_TYPE),
            size=options.image_size,
            seed=0,
        )
    given = {
        "backbone": options.scaling_backbone,
        "image_size": options.image_size,
        "window": options.window,
        "epochs": options.scaling_epochs,
    }
    if options.scaling_backbone == "random":
        given["backbone"] = f"local-dir:{random_network(bench.work / 'random-network')}"
    runs = [(n, 6, options.repeats) for n in options.sizes]
    runs += [(options.sizes[0], k, 1) for k in options.classes]
    for n, n_classes, repeats in runs:
        images = bench.work / "scaled"
        for repeat in range(repeats):
            key = f"scaling/{n}/{n_classes}/{repeat}"
            if key in bench.results and not options.again:
                continue
            if not (images / f"{n}.made").is_file():
                shutil.rmtree(images, ignore_errors=True)
                multiplied(drawn, images, n)
                (images / f"{n}.made").touch()
            own = {
                "images": str(images),
                "work": str(bench.work / "scaling"),
                "n_classes": n_classes,
            }
            bench.measure(key, "research.benchmarks.speed_ours", ["scaling"], given | own)
        shutil.rmtree(images, ignore_errors=True)


def random_network(folder: Path) -> Path:
    """A small network with random weights: what grows beside the network is seen sooner."""
    if not folder.is_dir():
        from tests.tiny import network_folder

        network_folder(folder)
    return folder


def mebin(bench: Bench) -> None:
    """`research/benchmarks/mebin.py`, one and two threads."""
    options = bench.options
    if "mebin" in bench.results and not options.again:
        return
    out = bench.work / "mebin.json"
    command = [
        sys.executable,
        "research/benchmarks/mebin.py",
        "--shared",
        str(options.shared.absolute()),
    ]
    command += ["--json", str(out), "--repeats", str(options.repeats)]
    if options.limit:
        command += ["--limit", str(options.limit)]
    if options.reference:
        command += ["--reference", str(options.reference.absolute())]
    if subprocess.run(command, cwd=ROOT, check=False).returncode == 0:
        bench.keep("mebin", json.loads(out.read_text(encoding="utf-8")))


def main() -> int:
    """Run what is asked for and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--reference", type=Path, help="checkout of AnomalyNCD")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "speed")
    parser.add_argument(
        "--out", type=Path, required=True, help="Markdown page; plots lie beside it"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precision", default="bfloat16", help="of our frozen blocks")
    parser.add_argument("--reference_epochs", type=int, default=3, help="of its 50, after one more")
    parser.add_argument(
        "--reference_seeds", type=int, nargs="+", default=[0], help="the first is also timed"
    )
    parser.add_argument("--limit", type=int, help="images of MTD; default: all 583")
    parser.add_argument(
        "--sizes", default="100,1000,2000,4000,8000", help="images of the scaling runs"
    )
    parser.add_argument("--classes", default="12,24", help="further numbers of classes")
    parser.add_argument("--image_size", type=int, default=64, help="of the scaling runs [px]")
    parser.add_argument("--window", type=int, default=32, help="of the scaling runs [px]")
    parser.add_argument("--scaling_epochs", type=int, default=2)
    parser.add_argument("--scaling_backbone", default="random", help="random, embedded, ...")
    options = parser.parse_args()
    options.sizes = [int(n) for n in options.sizes.split(",")]
    options.classes = [int(n) for n in options.classes.split(",") if n]
    parts = set(options.parts.split(",")) - {""}
    if parts - set(PARTS):
        parser.error(f"--parts: expected some of {', '.join(PARTS)}, got {options.parts}")
    bench = Bench(options)
    if "mebin" in parts:
        mebin(bench)
    if parts & {"training", "inference", "memory"}:
        compare(bench, parts)
    if "guided" in parts:
        weights = (options.shared / "weights" / "vit_tiny_patch16_224").absolute()
        given = {"backbones": [f"local-dir:{weights}", "embedded"], "repeats": 40, "threads": 1}
        given["work"] = str(bench.work / "guided")
        bench.measure("guided", "research.benchmarks.speed_ours", ["guided"], given)
    if "scaling" in parts:
        scale(bench)
    write_page(options.out, bench.results, vars(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
