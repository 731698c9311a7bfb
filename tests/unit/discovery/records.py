"""Small records for the tests of this room."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.core.records import Discovery, ImageResult, Region, RegionResult


def image(name: str, class_id: int) -> ImageResult:
    return ImageResult(name, Path(name), class_id, 0.9, 0.1, 0.8, 1, "good")


def region(name: str, index: int, class_id: int) -> RegionResult:
    box = (0, 0, 4, 4)
    return RegionResult(Region(name, index, box, box, 0.1, 0.5), class_id, 0.9, 0.1)


def raw(*class_ids: int, n_classes: int = 4) -> Discovery:
    """One image and one region of each class id."""
    names = [f"{number}.png" for number in range(len(class_ids))]
    pairs = list(zip(names, class_ids, strict=True))
    return Discovery(
        tuple(f"class {k}" for k in range(n_classes)),
        tuple(image(n, k) for n, k in pairs),
        tuple(region(n, 0, k) for n, k in pairs),
    )
