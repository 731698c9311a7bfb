"""The records that travel between the rooms: `Sample` -> `Region` -> `Discovery`.

Conventions, valid everywhere:

* images are RGB, ``uint8``, ``(H, W, 3)``; anomaly maps are ``float32``, ``(h, w)``, larger =
  more anomalous; masks are ``bool``, ``(h, w)``, True = anomaly;
* boxes are ``(x0, y0, x1, y1)`` in pixels of the original image, x1 and y1 exclusive;
* a larger outlier score = more outlying; class id -1 = rejected as an unseen outlier;
* an image is named by its path relative to the data set's root, with forward slashes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = [
    "OUTLIER",
    "Box",
    "CountEstimate",
    "Discovery",
    "Evidence",
    "FloatArray",
    "ImageArray",
    "ImageResult",
    "MapRange",
    "MaskArray",
    "Progress",
    "Region",
    "RegionResult",
    "Sample",
    "Skipped",
]

FloatArray: TypeAlias = npt.NDArray[np.float32]
ImageArray: TypeAlias = npt.NDArray[np.uint8]
MaskArray: TypeAlias = npt.NDArray[np.bool_]
Box: TypeAlias = tuple[int, int, int, int]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all)."""

OUTLIER = -1
"""Class id of what is rejected as an unseen outlier."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set, not yet read.

    Args:
        path: the image file.
        name: path relative to the data set's root, with forward slashes; the image's identity.
        label: class by which the data set calls it, None where nothing is known. Read by the
            metrics, and by training for *labelled* sets only.
        mask_path: ground-truth mask (non-zero = anomaly), None where there is none.
    """

    path: Path
    name: str
    label: str | None = None
    mask_path: Path | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """An input that was left out, and why (one line, for the report and the log)."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class MapRange:
    """Range of a data set's anomaly maps, fitted once and stored with the model.

    Args:
        low: score below which nothing counts as an anomaly [map units].
        high: score that counts as fully anomalous [map units]; ``high > low``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.high > self.low):
            raise ValueError(f"expected finite low < high, got {self.low!r}, {self.high!r}")

    def normalise(self, scores: FloatArray) -> FloatArray:
        """Map units -> [0, 1], clipped; any shape."""
        scaled = (np.asarray(scores, np.float32) - self.low) / (self.high - self.low)
        clipped: FloatArray = np.clip(scaled, 0.0, 1.0).astype(np.float32)
        return clipped


@dataclass(frozen=True, slots=True)
class Region:
    """One anomalous region of an image, before it has a class.

    Args:
        image: `Sample.name` of its image.
        index: number of the region within its image, 0 = most anomalous.
        box: bounding box of the region itself [px].
        crop_box: square (or whole-image) box that is cut out and embedded [px].
        area: share of the image's pixels that the region's foreground covers, in [0, 1].
        score: maximum of the normalised map inside the crop, in [0, 1].
        whole_image: True where no anomaly was found and the whole image stands in.
    """

    image: str
    index: int
    box: Box
    crop_box: Box
    area: float
    score: float
    whole_image: bool = False


@dataclass(frozen=True, slots=True)
class RegionResult:
    """A region with its class.

    Args:
        region: where it is.
        class_id: index into `Discovery.class_names`, or -1 (rejected).
        confidence: probability of that class, in [0, 1].
        outlier_score: larger = more outlying.
        position: coordinates in the 2-D map of regions, None before it is drawn.
        descriptors: name -> value of the region's descriptors (area, elongation, ...).
        probabilities: of the classes that may win, as the model numbers them, before any merger;
            empty where the result was read from a table. They tell nothing beside class and
            confidence, and take no part in comparisons.
    """

    region: Region
    class_id: int
    confidence: float
    outlier_score: float
    position: tuple[float, float] | None = None
    descriptors: Mapping[str, float] = field(default_factory=dict)
    probabilities: tuple[float, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ImageResult:
    """An image with its class, merged from its regions.

    Args:
        name: `Sample.name`.
        path: the image file.
        class_id: index into `Discovery.class_names`, or -1 (rejected).
        confidence: merged probability of that class, in [0, 1].
        outlier_score: maximum over the image's regions; larger = more outlying.
        anomaly_score: maximum of the normalised anomaly map, in [0, 1].
        n_regions: number of anomalous regions (0 = nothing stood out; the whole image was
            classified instead).
        true_class: what the data set calls it, None where unknown; never read by the method.
        probabilities: merged from its regions'; see `RegionResult`.
    """

    name: str
    path: Path
    class_id: int
    confidence: float
    outlier_score: float
    anomaly_score: float
    n_regions: int
    true_class: str | None = None
    probabilities: tuple[float, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class CountEstimate:
    """How many classes there are, and what speaks for it.

    Args:
        n_classes: the estimate, the normal class included where there is one.
        method: criterion that chose.
        candidates: numbers that were considered, ascending.
        curves: criterion -> its value for each candidate; larger = better.
        estimates: criterion -> the candidate that it prefers.
        with_normal: images without a region count as one class.
        with_labels: labelled samples took part in the prototype score.
    """

    n_classes: int
    method: str
    candidates: tuple[int, ...]
    curves: Mapping[str, tuple[float, ...]]
    estimates: Mapping[str, int]
    with_normal: bool
    with_labels: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CountEstimate:
        """Inverse of `to_dict`."""
        curves = {name: tuple(curve) for name, curve in values["curves"].items()}
        return cls(**{**values, "candidates": tuple(values["candidates"]), "curves": curves})


@runtime_checkable
class Evidence(Protocol):
    """What a discovery rests on: pictures, maps and masks, for whoever wants to see them."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Flat name -> value, for "how this was made"."""

    def load_image(self, name: str) -> ImageArray:
        """RGB (H, W, 3)."""

    def load_map(self, name: str) -> FloatArray:
        """Normalised map in [0, 1], (h, w)."""

    def load_mask(self, name: str) -> MaskArray:
        """Binarised map."""

    def load_object(self, name: str) -> MaskArray | None:
        """Object mask; None where everything counts as object."""

    def place(self, discovery: Discovery) -> Discovery:
        """The discovery with the place of every region in the 2-D map."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found: every image and region with its class.

    Args:
        class_names: name of class k at position k.
        images: one result an image, sorted by name.
        regions: one result a region, sorted by (image, index).
        skipped: inputs left out, and why.
        normal_class: id of the class reserved for normal images, None where there is none.
        notes: images used with a reservation, and which: no object was found, say.
        known_classes: ids of the classes that came with a labelled set.
        evidence: loaders of the images and maps behind the results, for the report.
        count: how the number of classes was estimated, None where it was given.
    """

    class_names: tuple[str, ...]
    images: tuple[ImageResult, ...]
    regions: tuple[RegionResult, ...]
    skipped: tuple[Skipped, ...] = ()
    normal_class: int | None = 0
    notes: tuple[Skipped, ...] = ()
    known_classes: tuple[int, ...] = ()
    evidence: Evidence | None = field(default=None, compare=False, repr=False)
    count: CountEstimate | None = field(default=None, repr=False)

    def class_name(self, class_id: int) -> str:
        """Name of a class id; -1 is "outlier"."""
        return "outlier" if class_id == OUTLIER else self.class_names[class_id]

    def regions_of(self, image: str) -> Sequence[RegionResult]:
        """The regions of one image, in order."""
        return [r for r in self.regions if r.region.image == image]
