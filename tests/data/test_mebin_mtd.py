"""MEBin's reference mode on the real maps of MTD: all thresholds and masks are AnomalyNCD's.

Golden values: ``tests/golden/make_regions_golden.py``, which names their origin.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from protoanomalyncd.core.records import MapRange
from research.published.binarisation import reference_binarise

GOLDEN = Path(__file__).parents[1] / "golden" / "mebin_mtd.json"


def golden_mtd_maps(folder: Path) -> tuple[list[str], np.ndarray]:
    """Names and 8-bit maps (n, 256, 256), as METHOD 2.3 defines the golden input."""
    files = sorted(folder.rglob("*.npy"))
    raw = [np.load(f) for f in files]
    low, high = min(float(r.min()) for r in raw), max(float(r.max()) for r in raw)
    eight_bit = [((r - low) / (high - low) * 255).astype(np.uint8) for r in raw]
    maps = [cv2.resize(m, (256, 256), interpolation=cv2.INTER_LINEAR) for m in eight_bit]
    return [f"{f.parent.name}/{f.stem}" for f in files], np.stack(maps)


def test_all_thresholds_and_masks_are_the_references(shared_dir: Path) -> None:
    names, maps = golden_mtd_maps(shared_dir / "maps" / "mtd_fused")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    if hashlib.sha256(maps.tobytes()).hexdigest() != golden["input_sha256"]:
        pytest.skip("this OpenCV resizes to other bytes than the one the golden values come from")
    assert len(names) == 583
    limits = MapRange(*golden["range"])
    ours = {}
    for name, amap in zip(names, maps, strict=True):
        found = reference_binarise(amap, limits)
        threshold = 255 if found.threshold is None else int(found.threshold)
        digest = hashlib.sha256(found.mask.tobytes()).hexdigest()[:16]
        ours[name] = [threshold, found.n_components, digest]
    assert ours == golden["maps"]
