"""Section "How many kinds": the curves behind an estimated number, as SVG paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protoanomalyncd.core.records import CountEstimate

__all__ = ["CURVE_HEIGHT", "CURVE_WIDTH", "CountCurve", "CountSection", "build_count"]

CURVE_WIDTH, CURVE_HEIGHT = 440, 200
_MARGIN = 34
_MOST_TICKS = 12

_TITLES = {
    "eigengaps": "How clearly the regions fall into that many groups (summed eigengaps)",
    "prototype_score": "Prototype score S(K)",
    "silhouette": "Silhouette",
    "vmf_bic": "Minus BIC of a von Mises-Fisher mixture",
    "eigengap": "Eigengap",
}


@dataclass(frozen=True)
class CountCurve:
    """One criterion over the candidates.

    Args:
        title: what it is.
        line: SVG path data.
        points: x, y, candidate and value of each.
        ticks: x and candidate of the labelled ones.
        best: candidate that it prefers.
    """

    title: str
    line: str
    points: tuple[tuple[float, float, int, float], ...]
    ticks: tuple[tuple[float, int], ...]
    best: int


@dataclass(frozen=True)
class CountSection:
    """The section.

    Args:
        lead: what was estimated, in one sentence.
        labels_note: whether labelled images took part.
        curves: the deciding criterion first, then the prototype score.
        others: title and preferred candidate of all criteria.
    """

    lead: str
    labels_note: str
    curves: tuple[CountCurve, ...]
    others: tuple[tuple[str, int], ...]


def build_count(count: CountEstimate | None) -> CountSection | None:
    """None where the number was given."""
    if count is None:
        return None
    normal = ", normal included" if count.with_normal else ""
    first, last = count.candidates[0], count.candidates[-1]
    drawn = list(dict.fromkeys([count.method, "prototype_score"]))
    return CountSection(
        lead=(
            f"Estimated: {count.n_classes}{normal}, out of {first} to {last}. You can set the "
            "number with --n_novel_classes."
        ),
        labels_note=(
            "Labelled images took part in the prototype score: its first term is the accuracy on "
            "a fifth of them."
            if count.with_labels
            else "There were no labelled images, so the prototype score is without its first "
            "term, the accuracy on them."
        ),
        curves=tuple(_curve(count, name) for name in drawn if name in count.curves),
        others=tuple((_TITLES.get(name, name), k) for name, k in sorted(count.estimates.items())),
    )


def _curve(count: CountEstimate, name: str) -> CountCurve:
    values = count.curves[name]
    xs = _spread([float(k) for k in count.candidates], _MARGIN, CURVE_WIDTH - _MARGIN)
    ys = _spread(values, CURVE_HEIGHT - _MARGIN, 14)
    every = -(-len(xs) // _MOST_TICKS)
    steps = (f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return CountCurve(
        title=_TITLES.get(name, name),
        line="M" + "L".join(steps),
        points=tuple(
            (round(x, 1), round(y, 1), k, v)
            for x, y, k, v in zip(xs, ys, count.candidates, values, strict=True)
        ),
        ticks=tuple(
            (round(x, 1), k) for x, k in list(zip(xs, count.candidates, strict=True))[::every]
        ),
        best=count.estimates[name],
    )


def _spread(values: Sequence[float], first: float, last: float) -> list[float]:
    """Values on the line from `first` (the smallest) to `last` (the largest) [SVG units]."""
    low, high = min(values), max(values)
    width = high - low
    return [first + (last - first) * ((v - low) / width if width else 0.5) for v in values]
