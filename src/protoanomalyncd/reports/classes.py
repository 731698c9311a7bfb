"""The classes as a person counts them: sizes, order, how sure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from protoanomalyncd.core.records import OUTLIER, Discovery, ImageResult
from protoanomalyncd.reports.colours import class_colour
from protoanomalyncd.reports.words import level, mean

__all__ = ["ClassSummary", "summarise_classes"]

_NORMAL_WORDS = "nothing unusual that would make it a defect"
_KNOWN_WORDS = "a labelled class"
_OUTLIER_WORDS = "too unlike every kind to be given a name"


@dataclass(frozen=True)
class ClassSummary:
    """One class with its images.

    Args:
        class_id: index into the class names, or -1.
        name: its name; an outlier is called "could not be named".
        role: ``defect``, ``normal`` or ``outlier``.
        description: a few plain words, may be empty.
        colour: ``#rrggbb``.
        images: its images, surest first.
        n_regions: marked regions of this class (whole-image stand-ins do not count).
        n_unmarked: its images in which no region stood out.
        confidence: mean over its images, nan without images.
        levels: number of images per ``high``, ``medium``, ``low``.
    """

    class_id: int
    name: str
    role: str
    description: str
    colour: str
    images: tuple[ImageResult, ...]
    n_regions: int
    n_unmarked: int
    confidence: float
    levels: Mapping[str, int]


def summarise_classes(discovery: Discovery, descriptions: Mapping[int, str]) -> list[ClassSummary]:
    """Defects by falling number of images, then outliers if any, then the normal class.

    A labelled class to which nothing belongs is left out: it came with other products.
    """
    members: dict[int, list[ImageResult]] = {k: [] for k in range(len(discovery.class_names))}
    members[OUTLIER] = []
    for image in discovery.images:
        members[image.class_id].append(image)
    regions = Counter(r.class_id for r in discovery.regions if not r.region.whole_image)
    may_be_absent = {OUTLIER, *discovery.known_classes}
    summaries = [
        _summarise(discovery, descriptions, class_id, images, regions[class_id])
        for class_id, images in members.items()
        if images or regions[class_id] or class_id not in may_be_absent
    ]
    order = {"defect": 0, "outlier": 1, "normal": 2}
    return sorted(summaries, key=lambda s: (order[s.role], -len(s.images), s.class_id))


def _summarise(
    discovery: Discovery,
    descriptions: Mapping[int, str],
    class_id: int,
    images: list[ImageResult],
    n_regions: int,
) -> ClassSummary:
    role, words = "defect", ""
    description = descriptions.get(class_id, "")
    if class_id in discovery.known_classes:
        description = "; ".join(part for part in (_KNOWN_WORDS, description) if part)
    if class_id == OUTLIER:
        role, words = "outlier", _OUTLIER_WORDS
    elif class_id == discovery.normal_class:
        role, words = "normal", _NORMAL_WORDS
    levels = Counter(level(image.confidence) for image in images)
    return ClassSummary(
        class_id=class_id,
        name="could not be named" if class_id == OUTLIER else discovery.class_name(class_id),
        role=role,
        description=description or words,
        colour=class_colour(discovery, class_id),
        images=tuple(sorted(images, key=lambda i: (-i.confidence, i.outlier_score, i.name))),
        n_regions=n_regions,
        n_unmarked=sum(image.n_regions == 0 for image in images),
        confidence=mean(image.confidence for image in images),
        levels={name: levels[name] for name in ("high", "medium", "low")},
    )
