"""The seam of this room: what every source of anomaly maps can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from protoanomalyncd.core.records import FloatArray, Sample, Skipped

__all__ = ["AnomalyMapSource", "FitReport", "Progress"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


@dataclass(frozen=True, slots=True)
class FitReport:
    """What `AnomalyMapSource.fit` learned.

    Args:
        normal_maxima: float32 (n,), the largest raw score of each of n normal images that were
            scored *as if never seen*; None where the source cannot know it.
        skipped: images that could not be used and will not be scored.
    """

    normal_maxima: FloatArray | None = None
    skipped: tuple[Skipped, ...] = ()


@runtime_checkable
class AnomalyMapSource(Protocol):
    """Image -> raw anomaly map. Saved as `name` + `arguments()` + `state()`."""

    name: ClassVar[str]
    precomputed: ClassVar[bool]
    """Maps are only read. Files are matched to all images of a call, so none may be left out."""
    learns_from: ClassVar[Literal["normal", "unlabelled"]]
    """What `fit` is given: images known to be normal, or the images to score."""

    def fit(self, images: Sequence[Sample], /, on_progress: Progress | None = None) -> FitReport:
        """Learn from images; copies and the order of the images do not matter."""
        ...

    def score(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, FloatArray | Skipped]]:
        """Stream one result an image, in order: float32 (h, w), finite, larger = more anomalous.

        An image that cannot be scored gives `Skipped`, and the others go on. A map does not depend
        on the other images of the call: it is the same to the bit.
        """
        ...

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values; without what belongs to a machine or a call."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What was learned, on the CPU; empty where nothing is."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`; raises ModelFormatError where it does not fit."""
        ...
