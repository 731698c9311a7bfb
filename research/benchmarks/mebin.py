"""Time MEBin beside AnomalyNCD's, on the same maps, and check that the masks are identical.

    .venv/bin/python research/benchmarks/mebin.py [--reference CHECKOUT] [--shared ../shared]

Maps: the golden input (583 maps of MTD, 8 bits, 256 x 256), in memory. CHECKOUT is a copy of
https://github.com/HUST-SLOW/AnomalyNCD outside this repository; without it only ours is timed.
Rounds alternate; the ratio is between medians.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import runpy
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from protoanomalyncd.core.records import MapRange
from research.published.binarisation import reference_binarise

ROOT = Path(__file__).parents[1]


def reference_sweep(checkout: Path, maps: list[np.ndarray], threads: int = 1) -> np.ndarray:
    """Masks of AnomalyNCD's code, run as it is but for integer limits and no progress bar.

    It is serial; with two threads OpenCV may use both inside its functions.
    """
    cv2.setNumThreads(threads)
    sys.path.insert(0, str(checkout / "models" / "modules"))
    module: Any = importlib.import_module("_MEBin")

    module.tqdm = lambda rows: rows
    sweep = module.MEBin()
    sweep.args = SimpleNamespace(sample_rate=4, min_interval_len=4, erode=True)
    sweep.anomaly_map_list = maps
    sweep.max_th, sweep.min_th = (int(v) for v in sweep.get_search_range())
    with contextlib.redirect_stdout(io.StringIO()):
        return np.stack(sweep.binarize_anomaly_maps()[0]) > 0


def our_sweep(maps: list[np.ndarray], threads: int) -> np.ndarray:
    """Masks of `reference_binarise`; OpenCV frees Python's lock, so threads help."""
    cv2.setNumThreads(1)
    maxima = [int(m.max()) for m in maps]
    one = partial(
        reference_binarise,
        map_range=MapRange(min(maxima), max(maxima)),
    )
    if threads == 1:
        return np.stack([one(m).mask for m in maps])
    with ThreadPoolExecutor(threads) as pool:
        return np.stack([found.mask for found in pool.map(one, maps, chunksize=16)])


def milliseconds(run: Callable[[], np.ndarray], n: int) -> float:
    """Wall clock a map."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / n * 1e3


def main() -> None:
    """Print one line a contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, help="maps; default: all 583")
    parser.add_argument("--json", type=Path, help="write the times there")
    args = parser.parse_args()
    golden = runpy.run_path(str(ROOT / "tests" / "data" / "test_mebin_mtd.py"))
    maps = list(golden["golden_mtd_maps"](args.shared / "maps" / "mtd_fused")[1])
    maps = maps[: args.limit]
    runs = {f"ours, {n} thread(s)": partial(our_sweep, maps, n) for n in (1, 2)}
    if args.reference:
        for n in (1, 2):
            runs[f"AnomalyNCD, {n} thread(s)"] = partial(reference_sweep, args.reference, maps, n)
    else:
        print("AnomalyNCD: not run (--reference CHECKOUT)")
    masks = {name: run() for name, run in runs.items()}
    same = all(np.array_equal(m, masks["ours, 1 thread(s)"]) for m in masks.values())
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            times[name].append(milliseconds(run, len(maps)))
    middles = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        line = f"{name}: {middles[name]:.2f} ms a map ({min(values):.2f} to {max(values):.2f})"
        rival = name.replace("ours", "AnomalyNCD")
        if rival in middles and rival != name:
            line += f", {middles[rival] / middles[name]:.1f} x AnomalyNCD's speed"
        print(line)
    print(f"masks identical: {same}")
    if args.json:
        args.json.write_text(json.dumps({"times": times, "same": same}), encoding="utf-8")


if __name__ == "__main__":
    main()
