"""The stages of a fit, each resumable: maps -> crops -> tokens.

Every stage leaves what it made in the work folder and finds it there when it is run again. Images
are handled in the order of their content, so that neither file names nor folder names change
anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from protoanomalyncd.anomaly_maps.base import AnomalyMapSource
from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.errors import DatasetError, InputError
from protoanomalyncd.core.records import FloatArray, MapRange, MaskArray, Region, Sample, Skipped
from protoanomalyncd.core.threads import ordered_map, worker_count
from protoanomalyncd.datasets import (
    Dataset,
    LabelledSet,
    content_key,
    load_dataset,
    read_image,
    read_mask,
)
from protoanomalyncd.localisation import ObjectStore
from protoanomalyncd.regions.collect import CroppedRegion, crop_labelled, crop_unlabelled
from protoanomalyncd.regions.crop_set import CropSet, CropWriter
from protoanomalyncd.storage.files import read_json, write_json
from protoanomalyncd.storage.map_store import MapStore
from protoanomalyncd.storage.tensors import read_tensors, write_tensors

__all__ = [
    "CroppedImage",
    "Progress",
    "crop_images",
    "crop_one",
    "crop_set",
    "fit_source",
    "label_crops",
    "samples_of",
    "score_maps",
]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all)."""


@dataclass(frozen=True, slots=True)
class CroppedImage:
    """An image and its regions, without the pixels.

    Args:
        sample: the image.
        key: content key.
        regions: at least one.
        descriptors: of each region.
        anomaly_score: maximum of the normalised map, in [0, 1].
    """

    sample: Sample
    key: str
    regions: tuple[Region, ...]
    descriptors: tuple[Mapping[str, float], ...]
    anomaly_score: float


def samples_of(
    images: str | Path | Dataset | Sequence[Sample],
) -> tuple[Sequence[Sample], list[Skipped]]:
    """The images to class, and what was left out of their folder."""
    if isinstance(images, str | Path):
        images = load_dataset(Path(images))
    if isinstance(images, Dataset):
        return images.unlabelled, list(images.skipped)
    return images, []


def by_content(samples: Sequence[Sample], skipped: list[Skipped]) -> list[tuple[str, Sample]]:
    """Samples with their content keys, in the order of these; unreadable files are skipped."""
    found = []
    for sample in samples:
        try:
            found.append((content_key(sample.path), sample))
        except (OSError, InputError) as error:
            skipped.append(Skipped(sample.name, f"cannot be read: {error}"))
    return sorted(found, key=lambda pair: (pair[0], pair[1].name))


def fit_source(
    source: AnomalyMapSource, images: Sequence[Sample], work: Path, progress: Progress
) -> tuple[FloatArray | None, list[Skipped]]:
    """Fit the source of maps, or load what an earlier call fitted.

    Returns:
        Maxima of normal images scored as if never seen, None where the source knows none; and the
        images that were left out.
    """
    state, summary = work / "detector.safetensors", work / "detector.json"
    if summary.is_file():
        source.load_state(read_tensors(state))
        values = read_json(summary)
    else:
        report = source.fit(images, lambda done, total: progress("fit detector", done, total))
        maxima = None if report.normal_maxima is None else [float(v) for v in report.normal_maxima]
        values = {
            "normal_maxima": maxima,
            "skipped": [dataclasses.asdict(s) for s in report.skipped],
        }
        write_tensors(state, source.state())
        write_json(summary, values)
    found = values["normal_maxima"]
    return (None if found is None else np.asarray(found, np.float32)), [
        Skipped(**s) for s in values["skipped"]
    ]


def score_maps(
    source: AnomalyMapSource, samples: Sequence[Sample], store: MapStore, progress: Progress
) -> list[Skipped]:
    """Keep the map of every image, from where an earlier call stopped.

    Returns:
        The images that cannot be scored.
    """
    waiting, skipped = list(samples), []
    if not source.precomputed:
        skipped = [s for s in (store.skipped(sample.name) for sample in samples) if s]
        seen = {s.name for s in skipped}
        waiting = [s for s in samples if s.name not in store and s.name not in seen]
    done = len(samples) - len(waiting)
    for sample, result in source.score(waiting):
        if isinstance(result, Skipped):
            skipped.append(result)
            store.put_skipped(result)
        else:
            store.put(sample.name, result)
        done += 1
        progress("score images", done, len(samples))
    return skipped


def crop_one(
    sample: Sample,
    key: str,
    amap: FloatArray,
    map_range: MapRange,
    mebin: MEBinConfig,
    crops: CropConfig,
    on_object: MaskArray | None = None,
) -> tuple[CroppedImage, list[CroppedRegion]]:
    """The regions of one image; `on_object` is its object mask, None = everything is object.

    Raises:
        ImageError: the image cannot be used.
    """
    found = crop_unlabelled(
        sample.name, read_image(sample.path), amap, map_range, mebin, crops, on_object
    )
    image = CroppedImage(
        sample,
        key,
        tuple(item.region for item in found),
        tuple(item.descriptors for item in found),
        float(map_range.normalise(amap).max()),
    )
    return image, found


def crop_set(found: Sequence[tuple[CroppedImage, list[CroppedRegion]]]) -> CropSet:
    """The crops of some images, unlabelled, in their order."""
    items = [(image.key, region) for image, regions in found for region in regions]
    return CropSet.build(
        [(r.crop.image, r.crop.mask, r.crop.amap) for _, r in items],
        [r.region.score for _, r in items],
        [-1] * len(items),
        [f"{key}/{r.region.index}" for key, r in items],
        [r.descriptors for _, r in items],
        [r.crop.on_object for _, r in items],
    )


def crop_images(
    ordered: Sequence[tuple[str, Sample]],
    store: MapStore,
    objects: ObjectStore,
    map_range: MapRange,
    configs: tuple[MEBinConfig, CropConfig],
    folder: Path,
    progress: Progress,
) -> tuple[list[CroppedImage], CropSet, list[Skipped]]:
    """The crops of all images that have a map, kept in `folder`.

    Raises:
        DatasetError: not one image could be used.
    """
    index = folder / "images.json"
    samples = {sample.name: sample for _, sample in ordered}
    if index.is_file():
        values = read_json(index)
        known = [_image_from(entry, samples) for entry in values["images"]]
        return known, CropSet.load(folder), [Skipped(**s) for s in values["skipped"]]
    waiting = [(key, sample) for key, sample in ordered if sample.name in store]

    def work(item: tuple[str, Sample]) -> tuple[CroppedImage, list[CroppedRegion]] | Skipped:
        key, sample = item
        try:
            amap, on_object = store.get(sample.name), objects.get(sample.name)
            return crop_one(sample, key, amap, map_range, *configs, on_object)
        except InputError as error:
            return Skipped(sample.name, str(error))

    images: list[CroppedImage] = []
    skipped: list[Skipped] = []
    with CropWriter(folder, configs[1].size) as writer:
        for done, result in enumerate(ordered_map(waiting, work, worker_count()), 1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                images.append(result[0])
                _write_crops(writer, *result)
            progress("find regions", done, len(waiting))
    if not images:
        raise DatasetError(
            f"expected at least one usable image, got none of {len(ordered)}; first reason: "
            f"{skipped[0].reason if skipped else 'no anomaly map'}"
        )
    write_json(
        index,
        {
            "images": [_image_to(i) for i in images],
            "skipped": [dataclasses.asdict(s) for s in skipped],
        },
    )
    return images, CropSet.load(folder), skipped


def _write_crops(writer: CropWriter, image: CroppedImage, regions: Sequence[CroppedRegion]) -> None:
    for r in regions:
        crop, key = (r.crop.image, r.crop.mask, r.crop.amap), f"{image.key}/{r.region.index}"
        writer.append(*crop, r.region.score, -1, key, r.descriptors, r.crop.on_object)


def label_crops(
    labelled: LabelledSet, config: CropConfig, folder: Path, progress: Progress
) -> tuple[CropSet, list[Skipped]]:
    """The largest region of each labelled image, kept in `folder`.

    Raises:
        DatasetError: a class has no usable image.
    """
    left_out = folder / "skipped.json"
    if CropSet.is_complete(folder) and left_out.is_file():
        return CropSet.load(folder), [Skipped(**s) for s in read_json(left_out)["skipped"]]
    skipped: list[Skipped] = []
    ordered = by_content(labelled.samples, skipped)

    def work(item: tuple[str, Sample]) -> CroppedRegion | Skipped:
        _, sample = item
        try:
            return _crop_of_class(sample, config)
        except InputError as error:
            return Skipped(sample.name, str(error))

    found: set[str | None] = set()
    with CropWriter(folder, config.size) as writer:
        results = ordered_map(ordered, work, worker_count())
        for number, ((key, sample), r) in enumerate(zip(ordered, results, strict=True)):
            if isinstance(r, Skipped):
                skipped.append(r)
            else:
                label = labelled.class_names.index(str(sample.label))
                crop = (r.crop.image, r.crop.mask, r.crop.amap)
                writer.append(*crop, 1.0, label, key, r.descriptors)
                found.add(sample.label)
            progress("crop labelled images", number + 1, len(ordered))
    for name in labelled.class_names:
        if name not in found:
            raise DatasetError(
                f"labelled class {name!r}: expected at least one usable image with a mask, got none"
            )
    write_json(left_out, {"skipped": [dataclasses.asdict(s) for s in skipped]})
    return CropSet.load(folder), skipped


def _crop_of_class(sample: Sample, config: CropConfig) -> CroppedRegion:
    """The largest region of a labelled image.

    Raises:
        InputError: the image or its mask cannot be used.
    """
    image = read_image(sample.path)
    if sample.mask_path is None or sample.label is None:
        raise DatasetError(f"labelled image {sample.name}: expected a class and a mask, got none")
    mask = read_mask(sample.mask_path, (image.shape[0], image.shape[1]))
    if not mask.any():
        raise DatasetError("its mask is empty")
    return crop_labelled(sample.name, image, mask, config)


def _image_to(image: CroppedImage) -> dict[str, Any]:
    return {
        "name": image.sample.name,
        "key": image.key,
        "anomaly_score": image.anomaly_score,
        "regions": [dataclasses.asdict(region) for region in image.regions],
        "descriptors": [dict(d) for d in image.descriptors],
    }


def _image_from(entry: Mapping[str, Any], samples: Mapping[str, Sample]) -> CroppedImage:
    regions = tuple(
        Region(**{**r, "box": tuple(r["box"]), "crop_box": tuple(r["crop_box"])})
        for r in entry["regions"]
    )
    return CroppedImage(
        samples[entry["name"]],
        entry["key"],
        regions,
        tuple(entry["descriptors"]),
        entry["anomaly_score"],
    )
