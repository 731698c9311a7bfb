"""What a discovery rests on: pictures, maps and masks, for whoever wants to see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.discovery.layout2d import FlatMap
from protoanomalyncd.discovery.metrics import (
    ClusterMetrics,
    SplitAccuracy,
    evaluate,
    split_accuracy,
)
from protoanomalyncd.localisation import ObjectStore
from protoanomalyncd.persistence.map_store import MapStore
from protoanomalyncd.regions.descriptors import phrase
from protoanomalyncd.regions.mebin import binarise
from protoanomalyncd.structures import Discovery, FloatArray, ImageArray, MapRange, MaskArray

__all__ = ["Evidence", "describe_classes", "metrics_of", "split_of"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Loaders of one discovery.

    Args:
        paths: image file of each name.
        maps: raw maps.
        map_range: their range.
        mebin: how they were binarised.
        settings: flat name -> value, for "how this was made".
        keeper: keeps a temporary folder alive.
        objects: object masks; None = everything is object.
        flat_map: places of the regions in the plane, computed when asked for.
    """

    paths: Mapping[str, Path]
    maps: MapStore
    map_range: MapRange
    mebin: MEBinConfig
    settings: Mapping[str, object] = field(default_factory=dict)
    keeper: object = None
    objects: ObjectStore | None = None
    flat_map: FlatMap | None = None

    def load_image(self, name: str) -> ImageArray:
        """RGB (H, W, 3)."""
        from protoanomalyncd.datasets.images import read_image

        return read_image(self.paths[name])

    def load_map(self, name: str) -> FloatArray:
        """Normalised map in [0, 1], (h, w)."""
        return self.map_range.normalise(self.maps.get(name))

    def load_mask(self, name: str) -> MaskArray:
        """Binarised map."""
        return binarise(self.maps.get(name), self.map_range, self.mebin).mask

    def load_object(self, name: str) -> MaskArray | None:
        """Object mask; None where everything counts as object."""
        return None if self.objects is None else self.objects.get(name)


def describe_classes(discovery: Discovery) -> dict[int, str]:
    """A few plain words for each class, from the median descriptors of its regions."""
    values: dict[int, list[Mapping[str, float]]] = defaultdict(list)
    for result in discovery.regions:
        if result.descriptors and not result.region.whole_image:
            values[result.class_id].append(result.descriptors)
    return {
        class_id: phrase({name: float(np.median([d[name] for d in all_of])) for name in all_of[0]})
        for class_id, all_of in values.items()
        if class_id != discovery.normal_class
    }


def metrics_of(discovery: Discovery) -> ClusterMetrics | None:
    """Agreement with the true classes, over the images that have one; None where none has."""
    known = [(i.true_class, i.class_id) for i in discovery.images if i.true_class is not None]
    return evaluate([t for t, _ in known], [c for _, c in known]) if known else None


def split_of(discovery: Discovery, known: Collection[str]) -> SplitAccuracy | None:
    """Accuracy over all, known and novel classes; None where no image is truly of a known class."""
    pairs = [(i.true_class, i.class_id) for i in discovery.images if i.true_class is not None]
    if not any(true in known for true, _ in pairs):
        return None
    return split_accuracy([true for true, _ in pairs], [k for _, k in pairs], known)
