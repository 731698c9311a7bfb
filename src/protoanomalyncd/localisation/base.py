"""The seam of this room: what every localiser can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from protoanomalyncd.core.records import MaskArray, Sample, Skipped

__all__ = ["Located", "ObjectLocaliser"]


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Where the object of one image is.

    Args:
        mask: True = object, (h, w), any resolution, covering the whole image, at least one pixel
            set; None = everything is object.
        warning: one line, where the object was looked for and not found; else empty.
    """

    mask: MaskArray | None
    warning: str = ""


@runtime_checkable
class ObjectLocaliser(Protocol):
    """Image -> object mask. Saved as `name` + `arguments()`; nothing is learned."""

    name: ClassVar[str]
    precomputed: ClassVar[bool]
    """Masks are only read. Files are matched to all images of a call, so none may be left out."""

    def locate(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Located | Skipped]]:
        """Stream one result an image, in order.

        Without an object the whole image counts, and the result says so by its warning. An image
        that cannot be read gives `Skipped`, and the others go on. A mask does not depend on the
        other images of the call. Models are loaded here, not before.
        """
        ...

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values; without what belongs to a machine or a call."""
        ...
