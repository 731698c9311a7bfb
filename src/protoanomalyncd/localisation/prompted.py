"""What the localisers that are told the object's name have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

import numpy as np

from protoanomalyncd.core.checks import Range
from protoanomalyncd.core.records import ImageArray, MaskArray, Sample, Skipped
from protoanomalyncd.core.threads import read_ahead
from protoanomalyncd.datasets.images import read_image
from protoanomalyncd.localisation.base import Located
from protoanomalyncd.localisation.prompts import names_of
from protoanomalyncd.localisation.shapes import ObjectRules, tidy

__all__ = ["PromptedLocaliser"]


@dataclass(kw_only=True, eq=False)
class PromptedLocaliser(ObjectRules, ABC):
    """Reads the images, asks the network for object masks, and unites them.

    Images go through the network one at a time, so that a mask is the same alone and among others.

    Args:
        prompt: what the object is called, in English; several names are separated by full stops:
            "washer. gear".
        score_threshold: least score of an object; None = the network's usual one.
        device: where the network runs.
    """

    name: ClassVar[str]
    precomputed: ClassVar[bool] = False
    usual_threshold: ClassVar[float]
    networks: ClassVar[tuple[str, ...]]
    """Options that name networks. They belong to a machine, so no model keeps them."""

    prompt: str
    score_threshold: Annotated[float, Range(0, 1)] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._names = names_of(self.prompt)
        given = self.score_threshold
        self._threshold = self.usual_threshold if given is None else given
        self._loaded: dict[str, tuple[Any, Any]] = {}

    def arguments(self) -> dict[str, Any]:
        """All options but device and networks."""
        left_out = ("device", *self.networks)
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        return own | {"prompt": ". ".join(self._names), "score_threshold": self._threshold}

    @abstractmethod
    def _load(self) -> None:
        """Load the network, unless that was done."""

    @abstractmethod
    def _masks(self, image: ImageArray) -> MaskArray:
        """Masks (n, H, W) of the objects found in an image (H, W, 3); n may be 0."""

    def locate(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Located | Skipped]]:
        """Object masks at the images' own resolution.

        Raises:
            MissingDependencyError: transformers or a model is missing; raised by the call.
            ConfigurationError: a model is of another kind; raised by the call.
        """
        if samples:
            self._load()
        return self._stream(samples)

    def _stream(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Located | Skipped]]:
        # A copy: torch wants arrays that may be written to.
        for sample, image in read_ahead(samples, lambda s: np.array(read_image(s.path))):
            yield sample, image if isinstance(image, Skipped) else self._locate_one(image)

    def _locate_one(self, image: ImageArray) -> Located:
        called = " or ".join(repr(name) for name in self._names)
        masks = self._masks(image)
        if not len(masks):
            return Located(
                None,
                f"no object found for {called} with a score of at least "
                f"{self._threshold:g}; the whole image is used",
            )
        united = np.asarray(masks.any(axis=0))
        if float(united.mean()) < self.min_area or not united.any():
            return Located(
                None,
                f"what was found for {called} covers less than {self.min_area:.2%} of the "
                "image (localiser.min_area); the whole image is used",
            )
        mask = tidy(united, self)
        return Located(None if mask.all() else mask)
