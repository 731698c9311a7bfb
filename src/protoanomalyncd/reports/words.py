"""Numbers in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = [
    "HIGH",
    "MEDIUM",
    "count",
    "level",
    "mean",
    "percent",
]

HIGH = 0.8
"""Confidence from which the page says "high"."""
MEDIUM = 0.5
"""Confidence from which the page says "medium"; below, "low"."""


def level(confidence: float) -> str:
    """``high``, ``medium`` or ``low``; ``unknown`` where there is no number."""
    if math.isnan(confidence):
        return "unknown"
    if confidence >= HIGH:
        return "high"
    return "medium" if confidence >= MEDIUM else "low"


def percent(share: float) -> str:
    """0.834 -> ``83%``; never rounds something to nothing or almost all to all."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 image``, ``1,200 images``."""
    word = singular if number == 1 else (plural or f"{singular}s")
    return f"{number:,} {word}"


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean of the finite values; nan of none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
