"""Crops of normal places, each guided as if a region that was found elsewhere lay there (*ours*).

What the class token says of them is what it says of the ground alone: `vit.whitening` takes the
embeddings of real regions relative to it. A crop is as large as the one that its mask and map are
borrowed from, so that sizes are those of the set. Places come from the normal images where there
are any, at random; else from the unlabelled images, where the anomaly map is lowest.

Which image, place and region are drawn depends on the content of the images and the seed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from protoanomalyncd.config import CropConfig
from protoanomalyncd.core.errors import InputError
from protoanomalyncd.core.records import Box, FloatArray, ImageArray, MaskArray, Region
from protoanomalyncd.regions.crops import Crop, cut
from protoanomalyncd.regions.proposals import cells

__all__ = ["NORMAL_CROPS", "BorrowedGuidance", "Place", "normal_crops"]

NORMAL_CROPS = 200
"""Crops that are drawn; half as many gave the same classes (docs/defaults.md)."""
_TRIES = 8


@dataclass(frozen=True, slots=True)
class BorrowedGuidance:
    """Guidance of a region that was found elsewhere.

    Args:
        size: width and height of its crop [px].
        mask: of its crop (S, S).
        amap: normalised map of its crop (S, S).
    """

    size: tuple[int, int]
    mask: MaskArray
    amap: FloatArray


@dataclass(frozen=True, slots=True)
class Place:
    """An image with a normal place in it.

    Args:
        key: content key.
        read: -> RGB, uint8 (H, W, 3).
        scores: -> normalised map (h, w); None = all of the image is normal.
    """

    key: str
    read: Callable[[], ImageArray]
    scores: Callable[[], FloatArray] | None = None


def normal_crops(
    places: Sequence[Place],
    n_regions: int,
    borrow: Callable[[int], BorrowedGuidance],
    config: CropConfig,
    seed: int,
) -> Iterator[Crop]:
    """Crops of at most `NORMAL_CROPS` normal places; none without an image or a region.

    Images that cannot be read are left out.

    Args:
        places: in any order; copies of an image count once.
        n_regions: regions whose guidance can be borrowed.
        borrow: number in [0, n_regions) -> its guidance.
        config: crop parameters.
        seed: of every draw.
    """
    distinct = {place.key: place for place in places}
    drawn = sorted(distinct, key=lambda key: _digest(seed, key))
    if not drawn or n_regions == 0:
        return
    for number in range(NORMAL_CROPS):
        place, turn = distinct[drawn[number % len(drawn)]], number // len(drawn)
        rng = np.random.default_rng(list(_digest(seed, f"{place.key}/{turn}")))
        borrowed = borrow(int(rng.integers(n_regions)))
        try:
            image = place.read()
        except InputError:
            continue  # whoever learns from the normal images lists it
        box = _draw_box(rng, image.shape, borrowed.size, place.scores)
        nothing = np.zeros((1, 1), np.float32)
        region = Region(place.key, 0, box, box, 0.0, 0.0)
        crop = cut(image, nothing.astype(np.bool_), nothing, region, config)
        yield Crop(crop.image, borrowed.mask, borrowed.amap)


def _digest(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}:normal:{text}".encode()).digest()


def _draw_box(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    size: tuple[int, int],
    scores: Callable[[], FloatArray] | None,
) -> Box:
    """A box of that size inside the image; of several, the one with the lowest mean score."""
    height, width = shape[:2]
    w, h = min(size[0], width), min(size[1], height)
    amap = None if scores is None else scores()
    found: list[tuple[float, Box]] = []
    for _ in range(1 if amap is None else _TRIES):
        x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        box = (x, y, x + w, y + h)
        mean = 0.0 if amap is None else float(amap[cells(box, amap.shape, (height, width))].mean())
        found.append((mean, box))
    return min(found, key=lambda item: item[0])[1]
