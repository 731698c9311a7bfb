"""Compute the golden values of MEBin and its crops by running AnomalyNCD's own code.

    python tests/golden/make_regions_golden.py CHECKOUT

CHECKOUT is a copy of https://github.com/HUST-SLOW/AnomalyNCD, outside this repository; nothing of
it is committed here. Written: ``mebin_small.npz`` (self-made maps and masks), ``mebin_mtd.json``
(thresholds and hashes for the maps of MTD, where the shared data are at hand), ``crops.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
INPUT = runpy.run_path(str(HERE / "golden_input.py"))
MTD = runpy.run_path(str(HERE.parent / "data" / "test_mebin_mtd.py"))


def small_maps() -> np.ndarray:
    """Self-made 8-bit maps, (n, 96, 96): blobs, lines, rings, noise, plateaus, nothing."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:96, :96].astype(np.float64)

    def blob(cy: float, cx: float, s: float) -> np.ndarray:
        return np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s * s))

    def noise(sigma: float) -> np.ndarray:
        field = cv2.GaussianBlur(rng.standard_normal((96, 96)), (0, 0), sigma)
        return (field - field.min()) / np.ptp(field)

    line = np.exp(-((x - 0.6 * y - 15) ** 2) / 18)
    ring = np.exp(-((np.hypot(y - 48, x - 48) - 28) ** 2) / 30)
    steps = np.floor(6 * (0.9 * blob(30, 60, 14) + 0.5 * blob(70, 20, 9))) / 6
    fields = [
        200 * blob(40, 50, 12),
        250 * blob(20, 20, 9) + 120 * blob(70, 70, 14),
        180 * blob(0, 95, 20) + 90 * blob(95, 0, 10),
        150 * line,
        220 * ring,
        230 * steps,
        120 * noise(2.0),
        170 * noise(5.0) + 60 * blob(60, 30, 8),
        255 * noise(1.0),
        *(
            sum(h * blob(*rng.uniform(8, 88, 2), rng.uniform(4, 9)) for h in heights)
            for heights in (
                (200, 190),
                (230, 140, 220),
                (150, 145, 140, 135),
                (90, 250),
                (100,) * 6,
            )
        ),
        np.full((96, 96), 40.0),
        40 + 4 * noise(3.0),
        40 * blob(50, 50, 30),
    ]
    return np.stack([np.clip(f, 0, 255).astype(np.uint8) for f in fields])


def run_sweep(
    module: object, maps: np.ndarray
) -> tuple[np.ndarray, list[int], list[int], tuple[int, int]]:
    """Masks, thresholds (255 = none), counts and integer range of the reference."""
    mebin = module.MEBin()
    mebin.args = SimpleNamespace(sample_rate=4, min_interval_len=4, erode=True)
    mebin.anomaly_map_list = list(maps)
    high, low = mebin.get_search_range()
    # Integers, not uint8 scalars: NumPy 2 would wrap round in the reference's arithmetic.
    mebin.max_th, mebin.min_th = int(high), int(low)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        masks, counts = mebin.binarize_anomaly_maps()
    thresholds = [mebin.get_threshold(s[:-1], 4)[0] for s in mebin.anomaly_num_sequence_list]
    return np.stack(masks) > 0, thresholds, [int(c) for c in counts], (mebin.min_th, mebin.max_th)


def run_crops(
    module: object, mask: np.ndarray, size: tuple[int, int], count: int
) -> tuple[list, list]:
    """Crop boxes, rounded as PIL rounds them, and scores of the reference, for one mask."""
    boxes: list[tuple[int, ...]] = []
    original = Image.Image.crop

    def recording(self: Image.Image, box: tuple[float, ...]) -> Image.Image:
        boxes.append(tuple(round(v) for v in box))
        return original(self, box)

    mebin = module.MEBin()
    mebin.min_th, mebin.max_th = 0, 255
    amap = cv2.GaussianBlur(mask.astype(np.uint8) * 200, (0, 0), 3)
    Image.Image.crop = recording
    try:
        *_, scores = mebin.crop_sub_image_mask(
            np.zeros((*size, 3), np.uint8), mask.astype(np.uint8) * 255, amap, count
        )
    finally:
        Image.Image.crop = original
    return boxes[: len(scores)], [round(float(s) / 255, 6) for s in scores]


def main(checkout: Path) -> None:
    """Write the golden files beside this one."""
    sys.path.insert(0, str(checkout / "models" / "modules"))
    import _MEBin as module

    commit = (
        sys.argv[2]
        if len(sys.argv) > 2
        else subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    origin = {
        "repository": "https://github.com/HUST-SLOW/AnomalyNCD",
        "file": "models/modules/_MEBin.py",
        "commit": commit,
    }
    maps = small_maps()
    masks, thresholds, counts, limits = run_sweep(module, maps)
    np.savez_compressed(
        HERE / "mebin_small.npz",
        maps=maps,
        masks=np.packbits(masks, axis=-1),
        thresholds=np.array(thresholds),
        counts=np.array(counts),
        range=np.array(limits),
        origin=np.array([f"{k}: {v}" for k, v in origin.items()]),
    )
    cases = []
    for seed, size, count in INPUT["CROP_CASES"]:
        boxes, scores = run_crops(module, INPUT["blob_mask"](seed), size, count)
        cases.append({"seed": seed, "size": size, "count": count, "boxes": boxes, "scores": scores})
    write(HERE / "crops.json", origin, cases=cases)
    shared = os.environ.get("PROTOANOMALYNCD_SHARED") or HERE.parents[1].parent / "shared"
    folder = Path(shared) / "maps" / "mtd_fused"
    if folder.is_dir():
        names, maps = MTD["golden_mtd_maps"](folder)
        masks, thresholds, counts, limits = run_sweep(module, maps)
        rows = {
            name: [threshold, count, hashlib.sha256(mask.tobytes()).hexdigest()[:16]]
            for name, threshold, count, mask in zip(names, thresholds, counts, masks, strict=True)
        }
        write(
            HERE / "mebin_mtd.json",
            origin,
            range=limits,
            input_sha256=hashlib.sha256(maps.tobytes()).hexdigest(),
            maps=rows,
        )


def write(path: Path, origin: dict[str, str], **values: object) -> None:
    """One line a record, so that a diff shows which changed."""
    text = json.dumps({"origin": origin, **values})
    for old in ('], "MT_', '}, {"seed'):
        text = text.replace(old, old.replace(", ", ",\n"))
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
