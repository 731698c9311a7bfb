"""Images for training: preloaded uint8 arrays and random crops from them.

Training images only: photographs, the training split of NEU-Seg, the 761 training
normals of MTD, and generated textures.  No label, no test image is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from research.common.pooling_sets import read_rgb

from .textures import Image, Mask, add_defect, texture

HELD_OUT = 20
"""Every 20th image of a source is kept for validation."""

SHARES = {"natural": 0.34, "neu_seg": 0.20, "mtd": 0.26, "textures": 0.20}


def load_mtd_normals(root: Path) -> list[Image]:
    """MTD's 761 training normals as 256x256 squares, as the benchmarks see its images."""
    names = (root / "mtd" / "mtd_train_filenames.txt").read_text().split()
    out = []
    for name in names:
        image = read_rgb(root / "mtd" / "MT_Free" / "Imgs" / Path(name).name)
        out.append(
            np.asarray(cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        )
    return out


def load_sources(root: Path, n_textures: int = 800, seed: int = 0) -> dict[str, list[Image]]:
    """All training images by source, whole in memory."""
    rng = np.random.default_rng(seed)
    return {
        "natural": [
            read_rgb(p)
            for p in sorted((root / "natural").iterdir())
            if p.suffix.lower() in {".jpg", ".jpeg"}
        ],
        "neu_seg": [
            read_rgb(p) for p in sorted((root / "neu_seg" / "images" / "training").iterdir())
        ],
        "mtd": load_mtd_normals(root),
        "textures": [texture(rng) for _ in range(n_textures)],
    }


@dataclass
class CropSampler:
    """Random crops of the sources.

    Attributes:
        sources: images by source.
        held_out: draw from the validation images instead of the training images.
        defects: share of crops with a generated defect.
        zoom: smallest and largest magnification of a crop.
    """

    sources: dict[str, list[Image]]
    held_out: bool = False
    defects: float = 0.5
    zoom: tuple[float, float] = (0.55, 2.0)

    def __post_init__(self) -> None:
        self._pools: dict[str, list[Image]] = {}
        for name, images in self.sources.items():
            kept = [im for i, im in enumerate(images) if (i % HELD_OUT == 0) == self.held_out]
            self._pools[name] = kept

    def _crop(self, rng: np.random.Generator, image: Image, size: int) -> Image:
        """One crop of a random magnification (log-uniform), random aspect, dihedral turn."""
        height, width = image.shape[:2]
        scale = np.exp(rng.uniform(*np.log(self.zoom)))
        aspect = np.exp(rng.uniform(-0.35, 0.35))
        h = int(np.clip(size / scale * aspect, 24, height))
        w = int(np.clip(size / scale / aspect, 24, width))
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        mode = cv2.INTER_AREA if h > size else cv2.INTER_LINEAR
        crop = cv2.resize(image[y : y + h, x : x + w], (size, size), interpolation=mode)
        turn = int(rng.integers(8))
        crop = np.rot90(crop, turn % 4)
        return np.ascontiguousarray(crop[:, ::-1] if turn >= 4 else crop)

    def _light(self, rng: np.random.Generator, crop: Image) -> Image:
        """Brightness, contrast, sometimes grey."""
        if rng.random() < 0.25:
            crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        if rng.random() < 0.5:
            gain, shift = float(np.exp(rng.normal(0, 0.2))), float(rng.normal(0, 15))
            table = np.clip((np.arange(256) - 128) * gain + 128 + shift, 0, 255).astype(np.uint8)
            crop = table[crop]
        return crop

    def one(self, rng: np.random.Generator, size: int) -> tuple[Image, Mask]:
        """A crop (size, size, 3) and its defect mask (size, size), zero without a defect."""
        names = list(self._pools)
        weights = np.array([SHARES[n] for n in names])
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        pool = self._pools[name]
        crop = self._crop(rng, pool[int(rng.integers(len(pool)))], size)
        mask = np.zeros((size, size), np.float32)
        if rng.random() < self.defects:
            other = self._crop(rng, pool[int(rng.integers(len(pool)))], size)
            crop, mask = add_defect(rng, crop, other)
        return self._light(rng, crop), mask

    def batch(self, rng: np.random.Generator, count: int, size: int) -> tuple[Image, Mask]:
        """(count, size, size, 3) uint8 and (count, size, size) float32."""
        pairs = [self.one(rng, size) for _ in range(count)]
        return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
