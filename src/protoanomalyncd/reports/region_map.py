"""The 2-D map of the regions, drawn as SVG on the server side.

Not plotly: its library alone weighs 4.8 MB, more than all the pictures of a page with 600 images,
for one scatter plot without axes or zoom; it cannot show a thumbnail on hover, ignores dark mode,
and draws nothing on paper or without JavaScript. One SVG path a class (a point is a line of
length 0 with round ends) takes about 12 bytes a region; the hover is 40 lines of our own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from protoanomalyncd.core.records import Discovery, RegionResult
from protoanomalyncd.reports.classes import ClassSummary

__all__ = ["HEIGHT", "WIDTH", "MapLabel", "MapLayer", "RegionMap", "build_map"]

WIDTH, HEIGHT = 1000, 600
_MARGIN = 30
_MOST_POINTS = 12_000


@dataclass(frozen=True)
class MapLayer:
    """All points of one class as SVG path data."""

    summary: ClassSummary
    path: str
    n_points: int


@dataclass(frozen=True)
class MapLabel:
    """A class name at the middle of its points."""

    x: int
    y: int
    text: str
    class_id: int


@dataclass(frozen=True)
class RegionMap:
    """Section 5 of the page.

    Args:
        layers: the points, class by class.
        labels: class names that find room.
        points: x, y and region of each point, for the hover.
        radius: of a point [map units].
        n_left_out: regions beyond the most that are drawn.
    """

    layers: tuple[MapLayer, ...]
    labels: tuple[MapLabel, ...]
    points: tuple[tuple[float, float, RegionResult], ...]
    radius: float
    n_left_out: int


def build_map(discovery: Discovery, summaries: Sequence[ClassSummary]) -> RegionMap | None:
    """None where no region has a position."""
    placed = [r for r in discovery.regions if r.position and all(map(math.isfinite, r.position))]
    if not placed:
        return None
    step = -(-len(placed) // _MOST_POINTS)
    points = _fit(placed[::step])
    radius = max(2.2, min(6.0, 110 / math.sqrt(len(points))))
    layers, labels = [], []
    taken: list[tuple[float, float, float]] = []
    for summary in summaries:
        own = [(x, y) for x, y, r in points if r.class_id == summary.class_id]
        if not own:
            continue
        path = "".join(f"M{x:g} {y:g}h0" for x, y in own)
        layers.append(MapLayer(summary, path, len(own)))
        label = None if summary.role == "outlier" else _place(summary, own, taken)
        if label is not None:
            labels.append(label)
    return RegionMap(
        layers=tuple(reversed(layers)),
        labels=tuple(labels),
        points=tuple(points),
        radius=radius,
        n_left_out=len(placed) - len(points) + sum(r.position is None for r in discovery.regions),
    )


def _fit(placed: Sequence[RegionResult]) -> list[tuple[float, float, RegionResult]]:
    """Scale both axes alike into the picture, y upwards."""
    positions = [r.position for r in placed if r.position is not None]
    xs, ys = [p[0] for p in positions], [p[1] for p in positions]
    span_x, span_y = max(xs) - min(xs), max(ys) - min(ys)
    scales = [
        room / span
        for room, span in ((WIDTH - 2 * _MARGIN, span_x), (HEIGHT - 2 * _MARGIN, span_y))
        if span > 0
    ]
    scale = min(scales, default=0.0)
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [
        (
            round(WIDTH / 2 + (x - middle_x) * scale, 1),
            round(HEIGHT / 2 - (y - middle_y) * scale, 1),
            result,
        )
        for (x, y), result in zip(positions, placed, strict=True)
    ]


def _place(
    summary: ClassSummary,
    own: Sequence[tuple[float, float]],
    taken: list[tuple[float, float, float]],
) -> MapLabel | None:
    """A label at the median of the points, moved up or down to find room; else none."""
    text = summary.name if len(summary.name) <= 24 else f"{summary.name[:23]}…"
    half = 5.2 * len(text) + 4
    x = min(max(statistics.median(p[0] for p in own), half), WIDTH - half)
    middle = statistics.median(p[1] for p in own)
    for shift in (0, -24, 24, -48, 48):
        y = min(max(middle + shift, 18), HEIGHT - 10)
        if all(abs(x - tx) > half + th or abs(y - ty) > 22 for tx, ty, th in taken):
            taken.append((x, y, half))
            return MapLabel(round(x), round(y), text, summary.class_id)
    return None
