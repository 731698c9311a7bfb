"""Which images are shown, and their pictures: examples for the cards, thumbnails for the table.

Every image is loaded once at most. The size of the page is bounded by three numbers: examples in
all, bytes of their pictures in all, and thumbnails in all; so 30 classes get fewer and smaller
examples each than 6, and 5,000 images get no thumbnails in the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TypeVar

from protoanomalyncd.core.errors import ProtoAnomalyNCDError, reason
from protoanomalyncd.core.records import (
    Box,
    ImageArray,
    ImageResult,
    RegionResult,
)
from protoanomalyncd.reports.classes import ClassSummary
from protoanomalyncd.reports.colours import class_colour
from protoanomalyncd.reports.data import ReportData
from protoanomalyncd.reports.pictures import heat_uri, jpeg_uri, outline_path
from protoanomalyncd.reports.words import level, percent

__all__ = ["Example", "Frame", "Gallery", "Pictures", "build_pictures", "choose_examples"]

EXAMPLES_IN_ALL = 240
EXAMPLES_PER_LIST = 12
EXAMPLE_BYTES_IN_ALL = 3_600_000
THUMBNAILS_IN_ALL = 1_500
_CLOSE_UP_SIDE, _WHOLE_SIDE, _THUMBNAIL_SIDE = 224, 512, 72
_THUMBNAIL_BYTES = 1_600
_UNREADABLE = (ProtoAnomalyNCDError, OSError, ValueError, LookupError)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Frame:
    """A region's box on an example, in pixels of the original image."""

    x: int
    y: int
    width: int
    height: int
    colour: str
    label: str


@dataclass(frozen=True)
class Example:
    """One picture of a gallery; all coordinates in pixels of the original image.

    Args:
        name: of the image.
        short: its last path component.
        sure: confidence as a percentage.
        level: ``high``, ``medium`` or ``low``.
        note: what the enlarged view says beside name and confidence.
        window: x, y, width, height of the close-up; None = the picture cannot be shown.
        size: width and height of the image.
        close_up: JPEG of the window.
        whole: JPEG of the whole image; empty where the close-up shows all of it.
        heat: PNG of the anomaly map, empty where there is none.
        outline: SVG path data of the binarised map.
        body: SVG path data of the object, empty where everything is object.
        frames: boxes of the image's regions.
    """

    name: str
    short: str
    sure: str
    level: str
    note: str
    window: Box | None = None
    size: tuple[int, int] = (0, 0)
    close_up: str = ""
    whole: str = ""
    heat: str = ""
    outline: str = ""
    body: str = ""
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """The images shown for one class, which never overlap: surest first, least sure first."""

    typical: tuple[ImageResult, ...]
    least_sure: tuple[ImageResult, ...]


@dataclass(frozen=True)
class Pictures:
    """All pictures of the page.

    Args:
        examples: image name -> example.
        thumbnails: data URIs; the two mappings point into it.
        of_region: (image name, region index) -> position in `thumbnails`.
        of_image: image name -> position in `thumbnails`.
        unreadable: name and reason of each image that could not be loaded.
    """

    examples: dict[str, Example]
    thumbnails: list[str]
    of_region: dict[tuple[str, int], int]
    of_image: dict[str, int]
    unreadable: list[tuple[str, str]]


def choose_examples(summaries: Sequence[ClassSummary]) -> dict[int, Gallery]:
    """Class id -> the surest and the least sure images."""
    shown = max(1, sum(bool(s.images) for s in summaries))
    most = min(EXAMPLES_PER_LIST, max(2, EXAMPLES_IN_ALL // (2 * shown)))
    most -= most % 6 if most > 6 else 0  # whole rows on a wide screen
    galleries = {}
    for summary in summaries:
        images = summary.images
        rest = images[most:]
        galleries[summary.class_id] = Gallery(images[:most], rest[::-1][:most])
    return galleries


def build_pictures(report: ReportData, galleries: Iterable[Gallery]) -> Pictures:
    """Load what is shown, once each, and make its pictures."""
    found = report.discovery
    regions: dict[str, list[RegionResult]] = defaultdict(list)
    for region in found.regions:
        regions[region.region.image].append(region)
    chosen = {i.name for g in galleries for i in (*g.typical, *g.least_sure)}
    max_bytes = min(30_000, EXAMPLE_BYTES_IN_ALL // max(1, len(chosen)))
    with_thumbnails = max(len(found.images), len(found.regions)) <= THUMBNAILS_IN_ALL
    pictures = Pictures({}, [], {}, {}, [])
    for result in found.images:
        if not with_thumbnails and result.name not in chosen:
            continue
        own = regions[result.name]
        try:
            image = report.load_image(result.name)
            if with_thumbnails:
                _add_thumbnails(pictures, result, own, image)
            if result.name in chosen:
                pictures.examples[result.name] = _example(report, result, own, image, max_bytes)
        except _UNREADABLE as error:
            pictures.unreadable.append((result.name, reason(error)))
            if result.name in chosen:
                pictures.examples[result.name] = _describe(report, result, own)
    return pictures


def _add_thumbnails(
    pictures: Pictures, result: ImageResult, own: Sequence[RegionResult], image: ImageArray
) -> None:
    """One thumbnail a region; that of the main region stands for the image."""
    main = _main_region(result, own)
    boxes = {r.region.index: _window(r.region.crop_box, image) for r in own}
    for index, box in (boxes or {0: _window(None, image)}).items():
        position = len(pictures.thumbnails)
        pictures.of_region[result.name, index] = position
        if main is None or main.region.index == index:
            pictures.of_image[result.name] = position
        pictures.thumbnails.append(jpeg_uri(image, box, _THUMBNAIL_SIDE, _THUMBNAIL_BYTES))


def _main_region(result: ImageResult, own: Sequence[RegionResult]) -> RegionResult | None:
    """The region that speaks for the image: of its class, the surest."""
    same = [r for r in own if r.class_id == result.class_id]
    return max(same or own, key=lambda r: r.confidence, default=None)


def _window(crop: Box | None, image: ImageArray) -> Box:
    """A square around a crop with some context, moved and cut to lie inside the image."""
    height, width = image.shape[:2]
    if crop is None:
        return (0, 0, width, height)
    x0, y0, x1, y1 = crop
    side = max(64, round(1.25 * max(x1 - x0, y1 - y0)))
    if side >= 0.8 * max(width, height):
        return (0, 0, width, height)
    spans = []
    for low, high, limit in ((x0, x1, width), (y0, y1, height)):
        length = min(side, limit)
        start = min(max(0, (low + high - length) // 2), limit - length)
        spans.append((start, start + length))
    return (spans[0][0], spans[1][0], spans[0][1], spans[1][1])


def _describe(report: ReportData, result: ImageResult, own: Sequence[RegionResult]) -> Example:
    """An example without pictures."""
    marked = [r for r in own if not r.region.whole_image]
    name = report.discovery.class_name
    if not marked:
        note = "no region stood out; the whole image was classified"
    else:
        parts = "; ".join(f"{name(r.class_id)} {percent(r.confidence)}" for r in marked)
        note = f"{len(marked)} marked region{'s' * (len(marked) > 1)}: {parts}"
    if result.true_class is not None:
        note += f" · true type: {result.true_class}"
    return Example(
        name=result.name,
        short=PurePosixPath(result.name).name or result.name,
        sure=percent(result.confidence),
        level=level(result.confidence),
        note=note,
    )


def _example(
    report: ReportData,
    result: ImageResult,
    own: Sequence[RegionResult],
    image: ImageArray,
    max_bytes: int,
) -> Example:
    plain = _describe(report, result, own)
    height, width = image.shape[:2]
    main = _main_region(result, own)
    whole_box = (0, 0, width, height)
    window = _window(main.region.crop_box if main else None, image)
    scores = _loaded(report.load_map, result.name)
    mask = None if scores is None else _loaded(report.load_mask, result.name)
    body = _loaded(report.load_object, result.name) if report.load_object else None
    if window == whole_box:
        close_up, whole = jpeg_uri(image, window, _WHOLE_SIDE, max_bytes), ""
    else:
        close_up = jpeg_uri(image, window, _CLOSE_UP_SIDE, max_bytes // 3)
        whole = jpeg_uri(image, whole_box, _WHOLE_SIDE, max_bytes * 2 // 3)
    x0, y0, x1, y1 = window
    return replace(
        plain,
        window=(x0, y0, x1 - x0, y1 - y0),
        size=(width, height),
        close_up=close_up,
        whole=whole,
        heat="" if scores is None else heat_uri(scores),
        outline="" if mask is None else outline_path(mask, width, height),
        body="" if body is None else outline_path(body, width, height),
        frames=tuple(_frame(report, r) for r in own if not r.region.whole_image),
    )


def _loaded(load: Callable[[str], _T], name: str) -> _T | None:
    """What belongs to an image; None where it cannot be loaded."""
    try:
        return load(name)
    except _UNREADABLE:
        return None


def _frame(report: ReportData, result: RegionResult) -> Frame:
    x0, y0, x1, y1 = result.region.box
    name = report.discovery.class_name(result.class_id)
    return Frame(
        x=x0,
        y=y0,
        width=x1 - x0,
        height=y1 - y0,
        colour=class_colour(report.discovery, result.class_id),
        label=f"{name}, {percent(result.confidence)}",
    )
