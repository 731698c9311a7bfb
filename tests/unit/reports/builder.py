"""Discoveries made up for the tests, on images drawn in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protoanomalyncd.core.records import (
    OUTLIER,
    Discovery,
    FloatArray,
    ImageArray,
    ImageResult,
    MaskArray,
    Region,
    RegionResult,
    Skipped,
)
from protoanomalyncd.reports import ReportData

NASTY_NAMES = (
    "good/<script>alert(1)</script>.png",
    "good/\"quoted\" & 'single'.png",
    "good/Prüfung_日本_\U0001f600.png",
    "good/=cmd|' /C calc'!A0.png",
    "good/comma, and\nnewline.png",
    "good/</script><img src=x onerror=alert(2)>.png",
    "good/\u202eright-to-left.png",
    "good/" + "very_long_" * 20 + ".png",
)


class Pictures:
    """The three loaders: a bright spot on a striped plate; remembers what was asked for."""

    def __init__(self, width: int, height: int, missing: Sequence[str] = ()) -> None:
        self.width, self.height, self.missing = width, height, set(missing)
        self.loaded: list[str] = []

    def image(self, name: str) -> ImageArray:
        if name in self.missing:
            raise FileNotFoundError(2, "No such file or directory", name)
        self.loaded.append(name)
        shade = 90 + 60 * np.sin(np.arange(self.width) / 7)
        plate = np.tile(shade, (self.height, 1))[:, :, None].repeat(3, axis=2)
        spot = self.map(name)[:, :, None]
        colour = np.array([40 + sum(map(ord, name)) % 60, 30, 20])
        return np.clip(plate * (1 - spot) + colour * spot, 0, 255).astype(np.uint8)

    def map(self, name: str) -> FloatArray:
        x, y = spot(name, self.width, self.height)
        columns, rows = np.meshgrid(np.arange(self.width), np.arange(self.height))
        distance = np.hypot(columns - x, rows - y)
        return np.exp(-((distance / 12) ** 2)).astype(np.float32)

    def mask(self, name: str) -> MaskArray:
        return self.map(name) > 0.4


def spot(name: str, width: int, height: int) -> tuple[int, int]:
    """Where an image's defect is [px]."""
    seed = sum(map(ord, name))
    return 20 + seed * 7 % max(1, width - 40), 20 + seed * 13 % max(1, height - 40)


def discovery(
    n_images: int,
    n_classes: int = 4,
    *,
    width: int = 96,
    height: int = 80,
    n_outliers: int = 0,
    names: Sequence[str] = (),
    class_names: Sequence[str] = (),
    truth: bool = True,
    positions: bool = True,
    skipped: Sequence[Skipped] = (),
) -> Discovery:
    """Images spread over the classes in turn, one region each; class 0 is normal."""
    draw = np.random.default_rng(n_images)
    labels = class_names or ("normal", *(f"kind {k}" for k in range(1, n_classes)))
    chosen = sorted(names or (f"type_{k % n_classes}/{k:05d}.png" for k in range(n_images)))
    images, regions = [], []
    for k, name in enumerate(chosen):
        class_id = OUTLIER if k < n_outliers else k % len(labels)
        true = f"type_{class_id if k % 5 else 0}" if truth else None
        confidence = float(draw.uniform(0.3, 1))
        x, y = spot(name, width, height)
        whole = class_id == 0
        box = (0, 0, width, height) if whole else (x - 9, y - 9, x + 9, y + 9)
        crop = box if whole else (max(0, x - 18), max(0, y - 18), x + 18, y + 18)
        crop = (crop[0], crop[1], min(width, crop[2]), min(height, crop[3]))
        place = (4.0 * class_id + draw.normal(), 3.0 * (class_id % 3) + draw.normal())
        region = Region(name, 0, box, crop, 0.04, 0.9, whole_image=whole)
        position = (float(place[0]), float(place[1])) if positions else None
        descriptors = {"elongation": 1.25} if whole else {"area": 0.04, "elongation": 2.5}
        result = RegionResult(region, class_id, confidence, 0.1, position, descriptors)
        regions.append(result)
        path = Path("images") / "image.png"
        score = 0.05 if whole else 0.9
        images.append(
            ImageResult(name, path, class_id, confidence, 0.1 * k, score, int(not whole), true)
        )
    return Discovery(tuple(labels), tuple(images), tuple(regions), tuple(skipped), 0)


def report(found: Discovery, pictures: Pictures | None = None, **values: Any) -> ReportData:
    """A report on 96 x 80 px pictures, unless others are given."""
    pictures = pictures or Pictures(96, 80)
    return ReportData(
        discovery=found,
        title=values.pop("title", "Line 4"),
        load_image=pictures.image,
        load_map=pictures.map,
        load_mask=pictures.mask,
        **values,
    )
