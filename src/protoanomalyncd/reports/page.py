"""`report.html`: one file, nothing loaded from anywhere, everything escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from protoanomalyncd.reports.classes import ClassSummary, summarise_classes
from protoanomalyncd.reports.count_curve import CURVE_HEIGHT, CURVE_WIDTH, build_count
from protoanomalyncd.reports.data import ReportData
from protoanomalyncd.reports.gallery import Gallery, Pictures, build_pictures, choose_examples
from protoanomalyncd.reports.headline import build_headline, group_skipped
from protoanomalyncd.reports.region_map import HEIGHT, WIDTH, RegionMap, build_map
from protoanomalyncd.reports.truth import build_truth
from protoanomalyncd.reports.words import count, level, percent
from protoanomalyncd.storage.files import write_bytes

__all__ = ["render_report", "write_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_CONTENT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class _Card:
    """A class with its examples."""

    summary: ClassSummary
    gallery: Gallery
    true_type: str
    n_of_true_type: int


def write_report(path: Path, report: ReportData) -> Path:
    """Write the page; `path` holds a whole page afterwards, or what it held before.

    Returns:
        `path`.

    Raises:
        OutputError: the file cannot be written.
    """
    write_bytes(Path(path), render_report(report).encode("utf-8", "replace"))
    return Path(path)


def render_report(report: ReportData) -> str:
    """The page as text. The same report gives the same text."""
    found = report.discovery
    summaries = summarise_classes(found, report.descriptions)
    galleries = choose_examples(summaries)
    pictures = build_pictures(report, galleries.values())
    region_map = build_map(found, summaries)
    truth = build_truth(report, summaries)
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return _template().render(
        title=report.title,
        policy=_CONTENT_POLICY.format(script=digest),
        style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        headline=build_headline(report, summaries),
        summaries=[s for s in summaries if s.images or s.role != "defect"],
        cards=_cards(summaries, galleries, truth.matching if truth else {}),
        most_images=max((len(s.images) for s in summaries), default=0),
        n_images=len(found.images),
        n_regions=sum(s.n_regions for s in summaries),
        examples=pictures.examples,
        unreadable=pictures.unreadable,
        truth=truth,
        region_map=region_map,
        map_size=(WIDTH, HEIGHT),
        skipped=group_skipped(found.skipped),
        notes=group_skipped(found.notes),
        n_skipped=len(found.skipped),
        count=build_count(found.count),
        count_size=(CURVE_WIDTH, CURVE_HEIGHT),
        settings=[(str(name), _setting(value)) for name, value in report.settings.items()],
        data=_data(report, summaries, pictures, region_map),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, level=level, counted=count)
    return environment.get_template("report.html.j2")


def _cards(
    summaries: Sequence[ClassSummary],
    galleries: Mapping[int, Gallery],
    matching: Mapping[int, str],
) -> list[_Card]:
    cards = []
    for summary in summaries:
        if not summary.images:
            continue
        true_type = matching.get(summary.class_id, "")
        same = sum(image.true_class == true_type for image in summary.images)
        cards.append(_Card(summary, galleries[summary.class_id], true_type, same))
    return cards


def _setting(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_setting(part) for part in value)
    return "–" if value is None else str(value)


def _data(
    report: ReportData,
    summaries: Sequence[ClassSummary],
    pictures: Pictures,
    region_map: RegionMap | None,
) -> dict[str, object]:
    """What the script needs for the table of images and the hover of the map."""
    position = {s.class_id: k for k, s in enumerate(summaries)}
    with_truth = any(image.true_class is not None for image in report.discovery.images)
    points = region_map.points if region_map else ()
    return {
        "classes": [[s.class_id, s.name, s.colour] for s in summaries],
        "truth": with_truth,
        "images": [
            [
                image.name,
                position[image.class_id],
                _short(image.confidence),
                _short(image.outlier_score),
                image.n_regions,
                image.true_class if with_truth else None,
                pictures.of_image.get(image.name, -1),
            ]
            for image in report.discovery.images
        ],
        "points": [
            [
                x,
                y,
                position[r.class_id],
                _short(r.confidence),
                r.region.image,
                pictures.of_region.get((r.region.image, r.region.index), -1),
            ]
            for x, y, r in points
        ],
        "thumbnails": list(pictures.thumbnails),
    }


def _short(value: float) -> float | None:
    """Four decimals; None where there is no number (JSON knows no nan)."""
    return round(float(value), 4) if abs(value) < float("inf") else None
