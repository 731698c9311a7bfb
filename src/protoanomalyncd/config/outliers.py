"""Settings of the rejection of unseen outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protoanomalyncd.core.checks import Range, check_types
from protoanomalyncd.core.registry import Component

__all__ = ["OutlierConfig"]

KEY_VALUE_CACHE = Component("key_value_cache")


@dataclass(frozen=True)
class OutlierConfig:
    """When a region is too strange to name.

    Args:
        score: an `OutlierScore` and its options.
        false_rejection_rate: share of the fitted regions that may be rejected; 0 = reject nothing.
    """

    score: Component = KEY_VALUE_CACHE
    false_rejection_rate: Annotated[float, Range(0, 1, "[)")] = 0.0

    def __post_init__(self) -> None:
        check_types(self, "outliers.")
