"""Settings of the estimate of the number of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from protoanomalyncd.core.checks import Range, check_types, require

__all__ = ["CountConfig"]


@dataclass(frozen=True)
class CountConfig:
    """How the number of classes is estimated where ``n_novel_classes`` is ``auto``.

    Args:
        method: ``eigengaps`` (ours), or one that stands beside them for comparison:
            ``prototype_score``, ``silhouette``, ``vmf_bic``, ``eigengap``.
        min_classes: fewest classes that are considered, the normal class included.
        max_classes: most classes that are considered; fewer where there are not three regions a
            class.
    """

    method: Literal["eigengaps", "prototype_score", "silhouette", "vmf_bic", "eigengap"] = (
        "eigengaps"
    )
    min_classes: Annotated[int, Range(2)] = 2
    max_classes: Annotated[int, Range(2)] = 20

    def __post_init__(self) -> None:
        check_types(self, "count.")
        require(
            self.max_classes >= self.min_classes,
            "count.max_classes",
            f"at least count.min_classes ({self.min_classes})",
            self.max_classes,
        )
