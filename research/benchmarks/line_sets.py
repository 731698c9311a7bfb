"""Generated sets that look like a line: changing light, sizes and crops, faint and plain defects.

Six products. Five types each, drawn by lot out of the usual and the further ones: 32, 24, 18, 12
and 8 images of them, each blended to between 30 % and 80 %. 40 normal images among them, 60 to
learn from. Grey, cut anywhere out of a picture of 384 px, 130 to 384 px a side, under a light of
their own. All of it depends on the product's name alone. `research.benchmarks.choose_whitening`
draws them itself; for other studies::

    .venv/bin/python -m research.benchmarks.line_sets DATA/line
    .venv/bin/python -m research.ablate research/configs/ablations/normal.yaml \
        --images DATA/line/wood --out OUT
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from protoanomalyncd.datasets.generated import FURTHER_TYPES, defect_types_of, render

PRODUCTS = ("brushed_metal", "leather", "wood", "fabric", "tile", "gear")
COUNTS = (32, 24, 18, 12, 8)
N_TRAIN, N_GOOD = 60, 40
SIDE = 384
_TRIES = 30
_GRAINED = ("wood", "brushed_metal")


def write_line_set(product: str, root: Path) -> Path:
    """Write one set in the MVTec AD layout: ``root/product``, which is returned.

    Args:
        product: one of `PRODUCTS`.
        root: folder of the sets.
    """
    rng = np.random.default_rng(zlib.crc32(product.encode()))
    kinds = [*defect_types_of(product), *FURTHER_TYPES]
    chosen = [kinds[i] for i in rng.permutation(len(kinds))[: len(COUNTS)]]
    places = [("train/good", None, N_TRAIN, 100_000), ("test/good", None, N_GOOD, 200_000)]
    places += [
        (f"test/{kind}", kind, count, 300_000 + 1000 * number)
        for number, (kind, count) in enumerate(zip(chosen, COUNTS, strict=True))
    ]
    for name, kind, count, first in places:
        folder = root / product / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture = _view(rng, product, kind, first + i)
            cv2.imwrite(str(folder / f"{i:03d}.png"), picture)
    return root / product


def _view(rng: np.random.Generator, product: str, kind: str | None, seed: int) -> NDArray[np.uint8]:
    """One grey image (h, w): a piece that holds most of its defect, in a light of its own."""
    strength = float(rng.uniform(0.3, 0.8))
    image, mask = render(product, kind, seed, size=SIDE, strength=strength if kind else 1.0)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    x, y, w, h = _piece(rng, mask.astype(np.uint8), product not in _GRAINED, kind is None)
    piece = grey[y : y + h, x : x + w][:, :: int(rng.choice((-1, 1)))]
    across, down = np.meshgrid(np.linspace(-1, 1, w), np.linspace(-1, 1, h))
    light = np.exp(rng.normal(0, 0.2)) * (piece - 128) + 128 + rng.normal(0, 20)
    light = light + rng.normal(0, 15) * across + rng.normal(0, 15) * down
    light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.3, 1.2)))
    light = light + rng.normal(0, rng.uniform(0, 6), light.shape)
    view: NDArray[np.uint8] = np.clip(light, 0, 255).astype(np.uint8)
    return view


def _piece(
    rng: np.random.Generator, mask: NDArray[np.uint8], may_turn: bool, is_normal: bool
) -> tuple[int, int, int, int]:
    """x, y, width, height of a piece with at least 60 % of the defect; else the whole."""
    for _ in range(_TRIES):
        w, h = (int(np.exp(rng.uniform(np.log(low), np.log(SIDE)))) for low in (130, 220))
        if rng.random() < 0.5 and may_turn:
            w, h = h, w
        y, x = int(rng.integers(0, SIDE - h + 1)), int(rng.integers(0, SIDE - w + 1))
        if is_normal or mask[y : y + h, x : x + w].sum() >= 0.6 * mask.sum():
            return x, y, w, h
    return 0, 0, SIDE, SIDE


def main() -> int:
    """Write all sets into the folder that is given."""
    if len(sys.argv) != 2:
        print("usage: python -m research.benchmarks.line_sets FOLDER", file=sys.stderr)
        return 2
    for product in PRODUCTS:
        print(write_line_set(product, Path(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
