"""What a discovery rests on: pictures, maps and masks, for whoever wants to see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.core.records import Discovery, FloatArray, ImageArray, MapRange, MaskArray
from protoanomalyncd.datasets.images import read_image
from protoanomalyncd.discovery.layout2d import FlatMap
from protoanomalyncd.localisation import ObjectStore
from protoanomalyncd.regions.mebin import binarise
from protoanomalyncd.storage.map_store import MapStore

__all__ = ["StoredEvidence"]


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """Evidence of one discovery, in the stores of its run.

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

    def place(self, discovery: Discovery) -> Discovery:
        """See `core.records.Evidence`."""
        return discovery if self.flat_map is None else self.flat_map.place(discovery)
