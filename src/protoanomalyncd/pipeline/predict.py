"""One image of `ProtoAnomalyNCD.predict`: from its map to the features of its regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.errors import InputError
from protoanomalyncd.core.records import FloatArray, MapRange, Sample, Skipped
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.outliers import RegionFeatures
from protoanomalyncd.localisation import ObjectStore
from protoanomalyncd.pipeline.stages import CroppedImage, crop_one, crop_set
from protoanomalyncd.storage.map_store import MapStore

__all__ = ["look_at"]

Stages: TypeAlias = tuple[MapRange, MEBinConfig, CropConfig]
Stores: TypeAlias = tuple[MapStore, ObjectStore]


def look_at(
    classifier: RegionClassifier,
    stages: Stages,
    keys: Mapping[str, str],
    stores: Stores,
    scored: tuple[Sample, FloatArray | Skipped],
) -> tuple[CroppedImage, RegionFeatures] | Skipped:
    """Cut an image and embed its crops; may run in any thread.

    Args:
        classifier: fitted.
        stages: range of the fitted maps, and how they are binarised and cut.
        keys: content key by image name.
        stores: where the map is kept, and where the object masks are.
        scored: the image and its raw map, or why it has none.
    """
    sample, amap = scored
    if isinstance(amap, Skipped):
        return amap
    (maps, objects), name = stores, sample.name
    maps.put(name, amap)
    try:
        cropped = crop_one(sample, keys[name], maps.get(name), *stages, objects.get(name))
    except InputError as error:
        return Skipped(name, str(error))
    return cropped[0], classifier.look(crop_set([cropped]))
