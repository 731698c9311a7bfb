"""The first lines of the page: what was found, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protoanomalyncd.core.records import Skipped
from protoanomalyncd.reports.classes import ClassSummary
from protoanomalyncd.reports.data import ReportData
from protoanomalyncd.reports.words import HIGH, MEDIUM, count, level, mean, percent

__all__ = ["Headline", "SkipGroup", "build_headline", "group_skipped"]

_NAMES_PER_REASON = 100
_REASONS = 30
_CONFIDENCE_NOTE = (
    "Confidence is the model's own probability that an image belongs to the kind it was put in: "
    f"high from {HIGH:.0%}, medium from {MEDIUM:.0%}, low below. Use it to decide what to check "
    "first; it is not a measured error rate."
)


@dataclass(frozen=True)
class Headline:
    """Sentences for the head of the page; an empty one is not shown.

    Args:
        lead: the result in one line.
        rest: what became of the other images.
        sure: how sure the model is over all images.
        kinds_note: who decided how many kinds there are.
        empty_note: classes without any image.
        confidence_note: what "confidence" means.
    """

    lead: str
    rest: str
    sure: str
    kinds_note: str
    empty_note: str
    confidence_note: str


@dataclass(frozen=True)
class SkipGroup:
    """Files left out for the same reason; `names` may be cut, `total` is not."""

    reason: str
    names: tuple[str, ...]
    total: int


def build_headline(report: ReportData, summaries: Sequence[ClassSummary]) -> Headline:
    """Sum the classes up in plain words."""
    images = report.discovery.images
    defects = [s for s in summaries if s.role == "defect" and s.images]
    confidences = [image.confidence for image in images]
    low = sum(level(c) == "low" for c in confidences)
    sure = ""
    if images:
        average = mean(confidences)
        sure = f"Average confidence: {level(average)} ({percent(average)})."
        if low:
            verb = "is" if low == 1 else "are"
            sure += f" {count(low, 'image')} {verb} below {MEDIUM:.0%} and worth a look."
    return Headline(
        lead=_lead(report, defects),
        rest=_rest(report, summaries),
        sure=sure,
        kinds_note=_kinds_note(report),
        empty_note=_empty_note(summaries) if images else "",
        confidence_note=_CONFIDENCE_NOTE if images else "",
    )


def group_skipped(items: Sequence[Skipped]) -> list[SkipGroup]:
    """Files by what is said of them, the most frequent reason first."""
    groups: dict[str, list[str]] = {}
    for skipped in items:
        groups.setdefault(skipped.reason, []).append(skipped.name)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    if len(ordered) > _REASONS:
        others = [name for _, names in ordered[_REASONS:] for name in names]
        ordered = [*ordered[:_REASONS], ("other reasons; the log names them", others)]
    return [
        SkipGroup(reason, tuple(names[:_NAMES_PER_REASON]), len(names)) for reason, names in ordered
    ]


def _lead(report: ReportData, defects: Sequence[ClassSummary]) -> str:
    found = report.discovery
    n_images = len(found.images)
    if not n_images:
        skipped = len(found.skipped)
        return "No image could be used." if skipped else "There were no images."
    if not defects:
        return f"No kind of defect in {count(n_images, 'image')}."
    what = "kind" if found.normal_class is None else "kind of defect"
    plural = "kinds" if found.normal_class is None else "kinds of defect"
    return f"{count(len(defects), what, plural)} in {count(n_images, 'image')}."


def _rest(report: ReportData, summaries: Sequence[ClassSummary]) -> str:
    sizes = {role: sum(len(s.images) for s in summaries if s.role == role) for role in _ROLES}
    parts = []
    if report.discovery.normal_class is not None and report.discovery.images:
        verb = "has" if sizes["defect"] == 1 else "have"
        looks = "looks" if sizes["normal"] == 1 else "look"
        parts.append(f"{count(sizes['defect'], 'image')} {verb} a defect of a named kind.")
        parts.append(f"{count(sizes['normal'], 'image')} {looks} normal.")
    if sizes["outlier"]:
        parts.append(f"{count(sizes['outlier'], 'image')} could not be named.")
    if report.discovery.skipped:
        were = "was" if len(report.discovery.skipped) == 1 else "were"
        parts.append(f"{count(len(report.discovery.skipped), 'file')} {were} left out.")
    return " ".join(parts)


_ROLES = ("defect", "normal", "outlier")


def _kinds_note(report: ReportData) -> str:
    if report.kinds_given is None or not report.discovery.class_names:
        return ""
    number = len(report.discovery.class_names) - len(report.discovery.known_classes)
    normal = ", normal included" if report.discovery.normal_class is not None else ""
    if report.kinds_given:
        return (
            f"The number of kinds ({number}{normal}) was given by the user, not estimated: there "
            "may really be more kinds or fewer."
        )
    return (
        f"The number of kinds ({number}{normal}) was estimated from the images; --n_novel_classes "
        "sets another."
    )


def _empty_note(summaries: Sequence[ClassSummary]) -> str:
    empty = [s.name for s in summaries if not s.images and s.role == "defect"]
    if not empty:
        return ""
    shown = ", ".join(empty[:10]) + (" and others" if len(empty) > 10 else "")
    return f"No image fell into {shown}."
