"""Inputs of the golden values of the crops, the same for the reference and for us."""

from __future__ import annotations

import numpy as np

SIZES = ((256, 256), (100, 650), (400, 300), (223, 517), (64, 48), (1200, 900))
CROP_CASES = [(seed, SIZES[seed % len(SIZES)], 1 + seed % 4) for seed in range(60)]
"""(seed of the mask, image size (H, W), estimated number of anomalies)."""


def blob_mask(seed: int) -> np.ndarray:
    """A mask of rectangles and lines, bool (128, 128); every tenth is empty."""
    rng = np.random.default_rng(1000 + seed)
    mask = np.zeros((128, 128), np.uint8)
    for _ in range(0 if seed % 10 == 9 else rng.integers(1, 7)):
        x, y, w, h = (int(v) for v in (*rng.integers(0, 120, 2), *rng.integers(1, 40, 2)))
        if rng.random() < 0.3:
            mask[y : y + 2, x : x + 3 * w] = 1
        elif rng.random() < 0.2:  # hollow: what lies inside has no outer contour
            mask[y : y + h, x : x + w] = 1
            mask[y + 3 : y + h - 3, x + 3 : x + w - 3] = 0
            mask[min(y + h // 2, 127), min(x + w // 2, 127)] = 1
        else:
            mask[y : y + h // 2 + 1, x : x + w // 2 + 1] = 1
    return mask > 0
