"""MEBin and crops of `research.published` give what AnomalyNCD's own code gave.

Golden values: ``make_regions_golden.py`` beside this file, which names their origin; small
self-made maps and masks, so that this runs without the shared data.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from protoanomalyncd.config import CropConfig
from protoanomalyncd.core.records import MapRange
from research.published.binarisation import reference_binarise
from research.published.regions import reference_regions

HERE = Path(__file__).parent
blob_mask = runpy.run_path(str(HERE / "golden_input.py"))["blob_mask"]
CASES = json.loads((HERE / "crops.json").read_text(encoding="utf-8"))["cases"]


def test_small_maps_give_the_references_thresholds_counts_and_masks() -> None:
    with np.load(HERE / "mebin_small.npz", allow_pickle=False) as golden:
        maps, limits = golden["maps"], MapRange(*golden["range"].tolist())
        thresholds, counts = golden["thresholds"].tolist(), golden["counts"].tolist()
        masks = np.unpackbits(golden["masks"], axis=-1).astype(bool)
    found = [reference_binarise(amap, limits, resolution=96) for amap in maps]
    assert [255 if f.threshold is None else f.threshold for f in found] == thresholds
    assert [f.n_components for f in found] == counts
    np.testing.assert_array_equal(np.stack([f.mask for f in found]), masks)
    assert {0, 1, 2, 3, 5} <= set(counts), "the golden maps must cover several counts"


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['seed']}-{c['size'][0]}x{c['size'][1]}")
def test_crops_are_the_references(case: dict) -> None:
    mask = blob_mask(case["seed"])
    amap = cv2.GaussianBlur(mask.astype(np.uint8) * 200, (0, 0), 3).astype(np.float32) / 255
    size = tuple(case["size"])
    regions = reference_regions("a.png", mask, amap, size, CropConfig(), case["count"])
    ours = sorted((*r.crop_box, round(r.score, 4)) for r in regions)
    theirs = sorted((*b, round(s, 4)) for b, s in zip(case["boxes"], case["scores"], strict=True))
    assert [o[:4] for o in ours] == [t[:4] for t in theirs]
    if mask.any():
        np.testing.assert_allclose([o[4] for o in ours], [t[4] for t in theirs], atol=2e-4)
    else:
        assert regions[0].whole_image
