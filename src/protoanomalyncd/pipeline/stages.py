"""The stages of a fit before training, each resumable: maps -> regions -> crops.

Every stage leaves what it made in the workspace and finds it there when it is run again. Images
are handled in the order of their content, so that neither file names nor folder names change
anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protoanomalyncd.anomaly_maps import AnomalyMapSource
from protoanomalyncd.config import CropConfig, MEBinConfig
from protoanomalyncd.core.errors import DatasetError, InputError
from protoanomalyncd.core.records import (
    FloatArray,
    ImageArray,
    MapRange,
    MaskArray,
    Region,
    Sample,
    Skipped,
)
from protoanomalyncd.core.threads import ordered_map, worker_count
from protoanomalyncd.datasets import LabelledSet, read_image, read_mask
from protoanomalyncd.pipeline.inputs import by_content
from protoanomalyncd.pipeline.workspace import Workspace
from protoanomalyncd.regions.collect import CroppedRegion, crop_unlabelled
from protoanomalyncd.regions.crop_set import CropSet, CropWriter
from protoanomalyncd.storage.files import read_json, write_json
from protoanomalyncd.storage.tensors import read_tensors, write_tensors

__all__ = [
    "CroppedImage",
    "Cutter",
    "crop_images",
    "crop_labelled_set",
    "crop_set",
    "fit_detector",
    "score_maps",
]


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


def fit_detector(
    detector: AnomalyMapSource, images: Sequence[Sample], work: Workspace
) -> FloatArray | None:
    """Fit the source of maps, or load what an earlier call fitted.

    Returns:
        Maxima of normal images scored as if never seen, None where the source knows none.
    """
    state, summary = work.folder / "detector.safetensors", work.folder / "detector.json"
    if summary.is_file():
        detector.load_state(read_tensors(state))
        values = read_json(summary)
    else:
        report = detector.fit(
            images, lambda done, total: work.on_progress("fit detector", done, total)
        )
        maxima = None if report.normal_maxima is None else [float(v) for v in report.normal_maxima]
        values = {
            "normal_maxima": maxima,
            "skipped": [dataclasses.asdict(s) for s in report.skipped],
        }
        write_tensors(state, detector.state())
        write_json(summary, values)
    work.skipped += [Skipped(**s) for s in values["skipped"]]
    found = values["normal_maxima"]
    return None if found is None else np.asarray(found, np.float32)


def score_maps(detector: AnomalyMapSource, samples: Sequence[Sample], work: Workspace) -> None:
    """Keep the map of every image, from where an earlier call stopped."""
    waiting, store = list(samples), work.maps
    if not detector.precomputed:
        before = [s for s in (store.skipped(sample.name) for sample in samples) if s]
        work.skipped += before
        seen = {s.name for s in before}
        waiting = [s for s in samples if s.name not in store and s.name not in seen]
    done = len(samples) - len(waiting)
    for sample, result in detector.score(waiting):
        if isinstance(result, Skipped):
            work.skipped.append(result)
            store.put_skipped(result)
        else:
            store.put(sample.name, result)
        done += 1
        work.on_progress("score images", done, len(samples))


@dataclass(frozen=True, slots=True, eq=False)
class Cutter:
    """Image and map -> regions, by what a fit has settled.

    Args:
        map_range: of the fitted maps.
        mebin: how they are binarised.
        crops: how regions are cut out.
        crop: see `Steps.crop`.
    """

    map_range: MapRange
    mebin: MEBinConfig
    crops: CropConfig
    crop: Callable[..., list[CroppedRegion]] = crop_unlabelled

    def __call__(
        self, sample: Sample, key: str, work: Workspace
    ) -> tuple[CroppedImage, list[CroppedRegion]]:
        """The regions of one image whose map and object mask are in the stores.

        Raises:
            ImageError: the image cannot be used.
        """
        amap, on_object = work.maps.get(sample.name), work.objects.get(sample.name)
        image = read_image(sample.path)
        found = self.crop(
            sample.name, image, amap, self.map_range, self.mebin, self.crops, on_object
        )
        regions = tuple(item.region for item in found)
        described = tuple(item.descriptors for item in found)
        score = float(self.map_range.normalise(amap).max())
        return CroppedImage(sample, key, regions, described, score), found


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
    ordered: Sequence[tuple[str, Sample]], cutter: Cutter, work: Workspace
) -> tuple[list[CroppedImage], CropSet]:
    """The crops of all images that have a map, kept in the folder ``crops``.

    Raises:
        DatasetError: not one image could be used.
    """
    folder = work.folder / "crops"
    index = folder / "images.json"
    samples = {sample.name: sample for _, sample in ordered}
    if index.is_file():
        values = read_json(index)
        work.skipped += [Skipped(**s) for s in values["skipped"]]
        return [_image_from(entry, samples) for entry in values["images"]], CropSet.load(folder)
    waiting = [(key, sample) for key, sample in ordered if sample.name in work.maps]

    def one(item: tuple[str, Sample]) -> tuple[CroppedImage, list[CroppedRegion]] | Skipped:
        key, sample = item
        try:
            return cutter(sample, key, work)
        except InputError as error:
            return Skipped(sample.name, str(error))

    images: list[CroppedImage] = []
    skipped: list[Skipped] = []
    with CropWriter(folder, cutter.crops.size) as writer:
        for done, result in enumerate(ordered_map(waiting, one, worker_count()), 1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                images.append(result[0])
                _write_crops(writer, *result)
            work.on_progress("find regions", done, len(waiting))
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
    work.skipped += skipped
    return images, CropSet.load(folder)


def _write_crops(writer: CropWriter, image: CroppedImage, regions: Sequence[CroppedRegion]) -> None:
    for r in regions:
        key = f"{image.key}/{r.region.index}"
        writer.append(r.crop, r.region.score, -1, key, r.descriptors)


def crop_labelled_set(
    labelled: LabelledSet, config: CropConfig, crop: Callable[..., CroppedRegion], work: Workspace
) -> CropSet:
    """The largest region of each labelled image, kept in the folder ``labelled``.

    Raises:
        DatasetError: a class has no usable image.
    """
    folder = work.folder / "labelled"
    left_out = folder / "skipped.json"
    if CropSet.is_complete(folder) and left_out.is_file():
        work.skipped += [Skipped(**s) for s in read_json(left_out)["skipped"]]
        return CropSet.load(folder)
    skipped: list[Skipped] = []
    ordered = by_content(labelled.samples, skipped)

    def one(item: tuple[str, Sample]) -> CroppedRegion | Skipped:
        _, sample = item
        try:
            image, mask = _labelled_image(sample)
            return crop(sample.name, image, mask, config)
        except InputError as error:
            return Skipped(sample.name, str(error))

    found: set[str | None] = set()
    with CropWriter(folder, config.size) as writer:
        results = ordered_map(ordered, one, worker_count())
        for number, ((key, sample), r) in enumerate(zip(ordered, results, strict=True)):
            if isinstance(r, Skipped):
                skipped.append(r)
            else:
                label = labelled.class_names.index(str(sample.label))
                writer.append(r.crop, 1.0, label, key, r.descriptors)
                found.add(sample.label)
            work.on_progress("crop labelled images", number + 1, len(ordered))
    for name in labelled.class_names:
        if name not in found:
            raise DatasetError(
                f"labelled class {name!r}: expected at least one usable image with a mask, got none"
            )
    write_json(left_out, {"skipped": [dataclasses.asdict(s) for s in skipped]})
    work.skipped += skipped
    return CropSet.load(folder)


def _labelled_image(sample: Sample) -> tuple[ImageArray, MaskArray]:
    """A labelled image and its mask.

    Raises:
        InputError: one of them cannot be used.
    """
    image = read_image(sample.path)
    if sample.mask_path is None or sample.label is None:
        raise DatasetError(f"labelled image {sample.name}: expected a class and a mask, got none")
    mask = read_mask(sample.mask_path, (image.shape[0], image.shape[1]))
    if not mask.any():
        raise DatasetError("its mask is empty")
    return image, mask


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
