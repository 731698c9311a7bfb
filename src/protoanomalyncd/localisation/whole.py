"""No localiser: everything is object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from protoanomalyncd.core.records import Sample, Skipped
from protoanomalyncd.core.registry import Registered
from protoanomalyncd.localisation.base import Located
from protoanomalyncd.localisation.registry import register_localiser

__all__ = ["WholeImage"]


@register_localiser("none")
class WholeImage(Registered):
    """Right for textures, and for products that fill the image."""

    precomputed: ClassVar[bool] = False

    def locate(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Located | Skipped]]:
        """O = 1 everywhere; the images are not read."""
        for sample in samples:
            yield sample, Located(None)
