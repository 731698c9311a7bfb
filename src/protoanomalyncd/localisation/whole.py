"""No localiser: everything is object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from protoanomalyncd.core.records import Sample, Skipped
from protoanomalyncd.localisation.base import Located
from protoanomalyncd.localisation.registry import register_localiser

__all__ = ["WholeImage"]


@register_localiser("none")
class WholeImage:
    """Right for textures, and for products that fill the image."""

    name: ClassVar[str] = "none"
    precomputed: ClassVar[bool] = False

    def locate(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Located | Skipped]]:
        """O = 1 everywhere; the images are not read."""
        for sample in samples:
            yield sample, Located(None)

    def arguments(self) -> dict[str, Any]:
        """None."""
        return {}
