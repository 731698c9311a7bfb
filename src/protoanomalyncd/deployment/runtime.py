"""Image + anomaly map -> regions -> classes, from an exported folder, without torch.

The same steps as `ProtoAnomalyNCD.predict` with maps from a folder: MEBin, crops and descriptors
are the very same code, the network is the exported graph, and the merging of regions is repeated in
numpy. Needs numpy, OpenCV, Pillow, and onnxruntime or OpenVINO.

Letters: R crops, S side of a crop, N classes as the model numbers them, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from protoanomalyncd.catalogue.mergers import add_up
from protoanomalyncd.core.errors import (
    AnomalyMapError,
    ConfigurationError,
    ImageError,
    InputError,
    ModelFormatError,
)
from protoanomalyncd.core.records import (
    OUTLIER,
    Discovery,
    FloatArray,
    ImageArray,
    ImageResult,
    MaskArray,
    RegionResult,
    Sample,
    Skipped,
)
from protoanomalyncd.core.threads import ordered_map, worker_count
from protoanomalyncd.datasets import load_dataset, match_maps, read_image, read_map, smooth_coarse
from protoanomalyncd.deployment.engines import Engine, open_engine
from protoanomalyncd.deployment.merging import merge
from protoanomalyncd.deployment.record import RECORD, Record, read_record
from protoanomalyncd.regions import anomaly_values
from protoanomalyncd.regions.collect import crop_unlabelled

__all__ = ["Classes", "Runtime"]


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Classes of some crops.

    Args:
        class_ids: index into `Runtime.class_names`, mergers done; -1 = rejected; (R,).
        confidences: probability of the class that fits best, mergers done, in [0, 1], (R,).
        outlier_scores: larger = more outlying, (R,).
        probabilities: of all classes as the model numbers them, before any merger, (R, N).
        embeddings: unit vectors (R, C).
    """

    class_ids: npt.NDArray[np.int64]
    confidences: FloatArray
    outlier_scores: FloatArray
    probabilities: FloatArray
    embeddings: FloatArray


class Runtime:
    """A model that was exported with `protoanomalyncd export`.

    Args:
        folder: the export.
        engine: ``onnxruntime`` or ``openvino``; None = the one of the folder's format.
        threads: at most: of `classify` for one crop, of `classify_folder` for as many images at a
            time, each with one thread. None = the engine's choice, and all cores.
        precision: ``float32``, or ``bfloat16``: quicker with OpenVINO where the processor has it,
            but classes at the border of two can move.
        batch_size: crops in one pass. At 1 a crop's result is the same to the bit whatever is
            classified beside it; more is faster on some machines.

    Raises:
        ModelFormatError: the folder is no export, incomplete or damaged, or its graph does not
            answer as its record says.
        MissingDependencyError: the engine's package is not installed.
        ConfigurationError: an argument makes no sense.

    Example:
        >>> runtime = Runtime("line_4-onnx")                              # doctest: +SKIP
        >>> found, regions = runtime.classify_image(image, anomaly_map)   # doctest: +SKIP
        >>> runtime.class_name(found.class_id), found.confidence          # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        engine: str | None = None,
        threads: int | None = None,
        batch_size: int = 1,
        precision: str = "float32",
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size: expected at least 1, got {batch_size}")
        self.record: Record = read_record(Path(folder))
        path = Path(folder) / self.record.graph
        open_it = partial(open_engine, path, self.record.kind, engine, precision=precision)
        self._engine = self._tried(open_it(threads))
        self._workers = threads or worker_count()
        self._open_for_many = cache(partial(open_it, 1, streams=self._workers))
        self._batch_size = batch_size

    def _tried(self, engine: Engine) -> Engine:
        """The engine, after one crop of zeros: record and graph may come from anywhere."""
        record, side = self.record, self.record.crop_size
        inputs: dict[str, npt.NDArray[Any]] = {
            "image": np.zeros((1, side, side, 3), np.uint8),
            "anomaly": np.zeros((1, side, side), np.float32),
        }
        if record.descriptors:
            inputs["descriptors"] = np.zeros((1, len(record.descriptors)), np.float32)
        wanted = {k: (array.shape, True) for k, array in _zeros(record, 1).items()}
        try:
            found = engine.run(inputs)
            said = {k: (found[k].shape, bool(np.isfinite(found[k]).all())) for k in wanted}
        except Exception as error:  # each engine raises kinds of its own
            raise ModelFormatError(_unlike(" ".join(str(error).split()))) from error
        if said != wanted:
            raise ModelFormatError(_unlike(f"shapes and finiteness {said}"))
        return engine

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class."""
        return self.record.class_names

    def class_name(self, class_id: int) -> str:
        """Name of a class id; -1 is "outlier"."""
        return "outlier" if class_id == OUTLIER else self.class_names[class_id]

    def classify(
        self,
        crops: ImageArray,
        maps: FloatArray,
        masks: MaskArray | None = None,
        descriptors: Sequence[Mapping[str, float]] | None = None,
    ) -> Classes:
        """Class crops that are cut out already.

        Args:
            crops: RGB uint8 (R, S, S, 3), or one crop (S, S, 3).
            maps: their anomaly maps, normalised to [0, 1] on the model's `Record.map_range`,
                (R, S, S), or (S, S).
            masks: their binarised maps, True = anomaly; None = the maps alone guide.
            descriptors: of each crop's region (`regions.describe`); needed where the record names
                some.

        Returns:
            One row a crop.

        Raises:
            ImageError: crops of another shape or type.
            AnomalyMapError: maps or masks of another shape, or values outside [0, 1].
            InputError: descriptors are missing.
        """
        return self._run(self._engine, crops, maps, masks, descriptors)

    def _run(
        self,
        engine: Engine,
        crops: ImageArray,
        maps: FloatArray,
        masks: MaskArray | None,
        descriptors: Sequence[Mapping[str, float]] | None,
    ) -> Classes:
        """`classify` by an engine."""
        images, values = self._checked(crops, maps, masks)
        inputs: dict[str, npt.NDArray[Any]] = {"image": images, "anomaly": values}
        if self.record.descriptors:
            inputs["descriptors"] = self._described(descriptors, len(images))
        rows = [_zeros(self.record)]
        for first in range(0, len(images), self._batch_size):
            some = slice(first, first + self._batch_size)
            rows.append(engine.run({name: array[some] for name, array in inputs.items()}))
        found = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        class_ids, confidences = add_up(found["probabilities"], self.record.counts_as)
        return Classes(
            np.where(found["class_id"] == OUTLIER, OUTLIER, class_ids),
            confidences.astype(np.float32),
            found["outlier_score"],
            found["probabilities"],
            found["embedding"],
        )

    def classify_image(
        self, image: ImageArray, amap: FloatArray, name: str = "image"
    ) -> tuple[ImageResult, tuple[RegionResult, ...]]:
        """Find the regions of an image by its anomaly map, class them, and merge them.

        Args:
            image: RGB uint8 (H, W, 3).
            amap: raw scores in the units of the maps that the model was fitted on, (h, w).
            name: of the image, for the results.

        Returns:
            The image's result, and one a region, the most anomalous first; where nothing stands
            out the whole image is the only region.

        Raises:
            ImageError: the image has another shape or type.
            AnomalyMapError: the map is not two-dimensional, empty, or not finite.
        """
        return self._classify(Sample(Path(name), name), image, amap, self._engine)

    def classify_folder(
        self,
        images: str | Path,
        maps: str | Path,
        on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    ) -> Discovery:
        """Class the images of a folder; `ProtoAnomalyNCD.predict` without torch.

        Several images are read, cut and classed at a time, one thread each: the results are the
        same for every number of threads.

        Args:
            images: folder of images (the test images of an MVTec AD layout).
            maps: folder of their anomaly maps, by the detector whose maps the model was fitted on.
            on_progress: called with (stage, images done, images in all).

        Returns:
            Classes of images and regions; without positions, and without what a report needs.

        Raises:
            InputError: a folder is missing or empty, or maps do not belong to the images.
        """
        dataset = load_dataset(images)
        paths = match_maps(dataset.unlabelled, Path(maps))
        skipped = list(dataset.skipped)
        engine = self._open_for_many()

        def work(sample: Sample) -> tuple[ImageResult, tuple[RegionResult, ...]] | Skipped:
            try:
                if sample.name not in paths:
                    raise AnomalyMapError(f"no anomaly map in {maps}")
                image, amap = read_image(sample.path), read_map(paths[sample.name])
                return self._classify(sample, image, amap, engine)
            except InputError as error:
                return Skipped(sample.name, str(error))

        found: list[ImageResult] = []
        regions: list[RegionResult] = []
        for number, result in enumerate(ordered_map(dataset.unlabelled, work, self._workers), 1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                found.append(result[0])
                regions += result[1]
            on_progress("classify images", number, len(dataset.unlabelled))
        return Discovery(
            self.class_names,
            tuple(sorted(found, key=lambda i: i.name)),
            tuple(sorted(regions, key=lambda r: (r.region.image, r.region.index))),
            tuple(sorted(skipped, key=lambda s: s.name)),
            self.record.normal_class,
        )

    def _classify(
        self, sample: Sample, image: ImageArray, amap: FloatArray, engine: Engine
    ) -> tuple[ImageResult, tuple[RegionResult, ...]]:
        record = self.record
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ImageError(
                f"{sample.name}: expected an RGB image (H, W, 3) of uint8, "
                f"got {image.shape} of {image.dtype}"
            )
        amap = smooth_coarse(amap, record.coarse_smoothing)
        items = crop_unlabelled(
            sample.name, image, amap, record.map_range, record.mebin, record.crops
        )
        classes = self._run(
            engine,
            np.stack([item.crop.image for item in items]),
            np.stack([item.crop.amap for item in items]),
            np.stack([item.crop.mask for item in items]),
            [item.descriptors for item in items],
        )
        regions = tuple(
            RegionResult(
                region=item.region,
                class_id=int(classes.class_ids[r]),
                confidence=float(classes.confidences[r]),
                outlier_score=float(classes.outlier_scores[r]),
                descriptors=item.descriptors,
                probabilities=tuple(classes.probabilities[r].tolist()),
            )
            for r, item in enumerate(items)
        )
        found = [item.region for item in items]
        areas = np.array([0.0 if region.whole_image else region.area for region in found])
        merged = merge(classes.probabilities, areas, record.merge_temperature)
        (class_id,), (confidence,) = add_up(merged[None], record.counts_as)
        outlier = np.float32(classes.outlier_scores.max())
        rejected = record.threshold is not None and outlier > np.float32(record.threshold)
        result = ImageResult(
            name=sample.name,
            path=sample.path,
            class_id=OUTLIER if rejected else int(class_id),
            confidence=float(confidence),
            outlier_score=float(outlier),
            anomaly_score=float(record.map_range.normalise(amap).max()),
            n_regions=sum(not region.whole_image for region in found),
            true_class=sample.label,
            probabilities=tuple(merged.tolist()),
        )
        return result, regions

    def _checked(
        self, crops: ImageArray, maps: FloatArray, masks: MaskArray | None
    ) -> tuple[ImageArray, FloatArray]:
        """Crops (R, S, S, 3) and anomaly values (R, S, S) as the graph takes them."""
        side = self.record.crop_size
        images, values = np.asarray(crops), np.asarray(maps)
        if images.ndim == 3:
            images, values = images[None], values[None]
            masks = None if masks is None else np.asarray(masks)[None]
        if images.shape[1:] != (side, side, 3) or images.dtype != np.uint8:
            raise ImageError(
                f"expected crops (R, {side}, {side}, 3) of uint8, "
                f"got {images.shape} of {images.dtype}"
            )
        shape = (len(images), side, side)
        for what, array in (("anomaly maps", values), ("masks", masks)):
            if array is not None and np.shape(array) != shape:
                raise AnomalyMapError(f"expected {what} {shape}, got {np.shape(array)}")
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise AnomalyMapError(
                "expected anomaly maps normalised to [0, 1] (Record.map_range.normalise), "
                f"got values from {values.min():.6g} to {values.max():.6g}"
            )
        # Half precision, because the model's own crops are kept so.
        rounded = values.astype(np.float16).astype(np.float32)
        if masks is not None:
            rounded = anomaly_values(masks, rounded)
        return np.ascontiguousarray(images), rounded

    def _described(
        self, descriptors: Sequence[Mapping[str, float]] | None, n_crops: int
    ) -> FloatArray:
        """Descriptors (R, D) in the graph's order."""
        names = self.record.descriptors
        rows = list(descriptors or ())
        if len(rows) != n_crops or any(name not in row for row in rows for name in names):
            raise InputError(
                f"this model looks at the shape of a region too: expected {', '.join(names)} of "
                f"each of {n_crops} crops, got {len(rows)} descriptions"
            )
        values = [[row[name] for name in names] for row in rows]
        return np.asarray(values, np.float32).reshape(n_crops, len(names))


def _zeros(record: Record, n_rows: int = 0) -> dict[str, npt.NDArray[Any]]:
    """What a graph gives for so many crops, all zeros."""
    return {
        "class_id": np.zeros(n_rows, np.int64),
        "confidence": np.zeros(n_rows, np.float32),
        "outlier_score": np.zeros(n_rows, np.float32),
        "probabilities": np.zeros((n_rows, len(record.names)), np.float32),
        "embedding": np.zeros((n_rows, record.embed_dim), np.float32),
    }


def _unlike(reason: str) -> str:
    return f"expected a graph that answers as {RECORD} says, got {reason[:200]}; export again"
