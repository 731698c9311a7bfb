"""`ProtoAnomalyNCD`: fit, predict, save; the whole flow on one screen.

images -> anomaly maps -> regions -> guided embeddings -> prototypes -> classes of regions, images.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from protoanomalyncd.anomaly_maps import AnomalyMapSource, choose, create
from protoanomalyncd.catalogue.catalogue import Catalogue
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError, NotFittedError
from protoanomalyncd.core.records import Discovery, MapRange, Sample, Skipped
from protoanomalyncd.core.threads import ordered_map, worker_count
from protoanomalyncd.datasets import Dataset, LabelledSet, load_dataset, load_labelled
from protoanomalyncd.discovery.classifier import Classes, RegionClassifier
from protoanomalyncd.discovery.gather import gather
from protoanomalyncd.discovery.outliers import RegionFeatures
from protoanomalyncd.localisation import ObjectLocaliser, ObjectStore, locate_all, map_store
from protoanomalyncd.localisation.choice import choose_localiser, localiser_for
from protoanomalyncd.pipeline.evidence import StoredEvidence
from protoanomalyncd.pipeline.fit import Fit, check_device
from protoanomalyncd.pipeline.predict import look_at
from protoanomalyncd.pipeline.stages import (
    CroppedImage,
    Progress,
    by_content,
    samples_of,
)
from protoanomalyncd.storage.map_store import MapStore
from protoanomalyncd.vit import Backbone, create_backbone

__all__ = ["ProtoAnomalyNCD"]


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class ProtoAnomalyNCD:
    """Discovers the classes behind anomaly maps, and names new images by them.

    Args:
        config: every setting; the arguments below replace single ones.
        n_novel_classes: classes of the unlabelled set, its normal class included; ``"auto"`` =
            estimated (`discovery_.count` says how).
        backbone: ``embedded``, ``local-dir:FOLDER`` or a timm name (which downloads), or an
            instance of the `Backbone` protocol.
        seed: of every random choice.
        device: ``cpu``, ``cuda``, ...

    Attributes:
        discovery_: result of the last `fit`, in the catalogue's classes.
        catalogue_: names and mergers of classes.
        map_range_: range of the fitted set's anomaly maps.
        seconds_: wall clock of each stage of `fit` [s].
        history_: mean of each term of the objective, an entry an epoch.

    Example:
        >>> model = ProtoAnomalyNCD(n_novel_classes=6)                        # doctest: +SKIP
        >>> found = model.fit("DATA/mtd", labelled="DATA/neu").discovery_     # doctest: +SKIP
        >>> model.catalogue_.rename(3, "scratch")                             # doctest: +SKIP
        >>> model.report("report.html")                                       # doctest: +SKIP
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        n_novel_classes: int | Literal["auto"] | None = None,
        backbone: str | Backbone | None = None,
        seed: int | None = None,
        device: str | None = None,
    ) -> None:
        config = config or Config()
        if isinstance(backbone, str):
            config = dataclasses.replace(
                config, embedding=dataclasses.replace(config.embedding, backbone=backbone)
            )
        self.config = dataclasses.replace(
            config,
            n_novel_classes=config.n_novel_classes if n_novel_classes is None else n_novel_classes,
            seed=config.seed if seed is None else seed,
            device=config.device if device is None else device,
        )
        check_device(self.config.device)
        self._given_backbone = None if isinstance(backbone, str) else backbone
        self.base_classes_: tuple[str, ...] = ()
        self.seconds_: dict[str, float] = {}
        self.history_: list[dict[str, float]] = []
        self._raw: Discovery | None = None
        self._source: AnomalyMapSource | None = None
        self._localiser: ObjectLocaliser | None = None
        self._classifier: RegionClassifier | None = None
        self._catalogue: Catalogue | None = None
        self._map_range: MapRange | None = None

    @property
    def discovery_(self) -> Discovery:
        """What the last `fit` found, by the catalogue's present names and mergers."""
        if self._raw is None:
            raise NotFittedError("discovery_: call fit first; a loaded model has predict")
        return self.catalogue_.apply(self._raw)

    @property
    def catalogue_(self) -> Catalogue:
        """Names and mergers of classes."""
        if self._catalogue is None:
            raise NotFittedError("catalogue_: call fit or from_pretrained first")
        return self._catalogue

    @property
    def map_range_(self) -> MapRange:
        """Range of the fitted set's maps."""
        if self._map_range is None:
            raise NotFittedError("map_range_: call fit or from_pretrained first")
        return self._map_range

    @property
    def classifier_(self) -> RegionClassifier:
        """Encoder, prototypes and outlier score."""
        if self._classifier is None:
            raise NotFittedError(
                "this model has learned nothing yet: call fit or from_pretrained first"
            )
        return self._classifier

    def fit(
        self,
        images: str | Path | Dataset,
        *,
        labelled: str | Path | LabelledSet | None = None,
        maps: str | Path | None = None,
        object_masks: str | Path | None = None,
        work_dir: str | Path | None = None,
        on_progress: Progress = _silent,
    ) -> ProtoAnomalyNCD:
        """Discover the classes of a set of images.

        Args:
            images: folder in MVTec AD layout (train/good, test/...), or any folder of images;
                test labels are never read.
            labelled: base set of known defects of other products, with masks; None = none.
            maps: folder of anomaly maps of any detector; None = a built-in one, fitted on
                train/good, or on the images themselves where there are no normal ones.
            object_masks: folder of masks that say where the object is; None = as
                `LocaliserConfig` has it.
            work_dir: keeps intermediate results, so that an interrupted fit goes on; belongs to
                these images and settings, and must be empty for others. None = a temporary folder.
            on_progress: called with (stage, steps done, steps in all).

        Returns:
            The model itself.

        Raises:
            InputError: no usable image, map or labelled class.
            ConfigurationError: a setting does not fit the data.
        """
        dataset = images if isinstance(images, Dataset) else load_dataset(Path(images))
        base = (
            labelled if isinstance(labelled, LabelledSet | None) else load_labelled(Path(labelled))
        )
        keeper = None if work_dir else tempfile.TemporaryDirectory(prefix="protoanomalyncd-")
        work = Path(keeper.name if keeper else str(work_dir))
        fit = Fit(self.config, work, on_progress, list(dataset.skipped))
        torch.manual_seed(self.config.seed)
        backbone = self._backbone()
        with self._stage("objects"):
            self._localiser = choose_localiser(
                self.config.localiser, dataset.root.name, object_masks, self.config.device
            )
            fit.locate(self._localiser, dataset)
        with self._stage("anomaly maps"):
            self._source = self._create_source(backbone, dataset, maps)
            ordered, store = fit.score(self._source, dataset)
            self._map_range = fit.map_range
        with self._stage("regions"):
            found, crops, known = fit.cut(ordered, store, base)
            self.base_classes_ = fit.base_classes
        with self._stage("training"):
            encoder, head, self.history_ = fit.learn(backbone, crops, known)
        with self._stage("classes"):
            self._classifier, self._catalogue, features = fit.finish(encoder, head, crops, known)
            evidence = self._evidence(found, store, fit.objects, maps, keeper)
            self._raw = self._gather(found, features, (fit.skipped, fit.notes), evidence)
        return self

    def predict(
        self,
        images: str | Path | Dataset | Sequence[Sample],
        *,
        maps: str | Path | None = None,
        object_masks: str | Path | None = None,
        classes: Classes | None = None,
        work_dir: str | Path | None = None,
        on_progress: Progress = _silent,
    ) -> Discovery:
        """Class new images by the fitted model, without retraining.

        Args:
            images: folder (the test images of an MVTec AD layout), data set, or samples.
            maps: folder of anomaly maps; needed if the model was fitted with one.
            object_masks: folder of object masks; needed if the model was fitted with one.
            classes: ``novel`` or ``all``, see `Config`; None = as the model was fitted.
            work_dir: keeps the anomaly maps; None = a temporary folder.
            on_progress: called with (stage, steps done, steps in all).

        Returns:
            Classes of images and regions, in the catalogue's names.

        Raises:
            NotFittedError: `fit` or `from_pretrained` must come first.
            InputError: no usable image, or no maps where they are needed.
        """
        classifier = self.classifier_
        stages = (self.map_range_, self.config.mebin, self.config.crops)
        classes = dataclasses.replace(self.config, classes=classes or self.config.classes).classes
        images, skipped = samples_of(images)
        source = self._source_for(maps)
        localiser = localiser_for(self._localiser, object_masks)
        keeper = None if work_dir else tempfile.TemporaryDirectory(prefix="protoanomalyncd-")
        work = Path(keeper.name if keeper else str(work_dir))
        objects = ObjectStore(work / "objects")
        store = map_store(work / "maps", objects, self.config.localiser.mask_maps)
        found: list[CroppedImage] = []
        rows: list[RegionFeatures] = []
        ordered = by_content(images, skipped)
        keys = {sample.name: key for key, sample in ordered}
        notes = locate_all(localiser, [s for _, s in ordered], objects, on_progress)
        one = partial(look_at, classifier, stages, keys, (store, objects))
        scored = source.score([s for _, s in ordered])
        workers = worker_count(self.config.device)
        for done, result in enumerate(ordered_map(scored, one, workers), 1):
            on_progress("classify images", done, len(ordered))
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                found.append(result[0])
                rows.append(result[1])
        evidence = self._evidence(found, store, objects, maps, keeper)
        features, left_out = RegionFeatures.join(rows), (skipped, notes)
        return self.catalogue_.apply(self._gather(found, features, left_out, evidence, classes))

    def report(
        self, path: str | Path, found: Discovery | None = None, title: str = "Defect classes"
    ) -> Path:
        """Write a self-contained HTML page of what was found.

        Args:
            path: of the page.
            found: what `predict` returned; None = the fitted images.
            title: of the page.

        Raises:
            NotFittedError: the discovery was read from tables, without the images behind it.
            OutputError: the page cannot be written.
        """
        from protoanomalyncd.reports.compose import compose_report

        return compose_report(self.discovery_ if found is None else found, Path(path), title)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model: safetensors + JSON, complete without the backbone's own files.

        Raises:
            NotFittedError: nothing was fitted.
            OutputError: the folder cannot be written.
        """
        from protoanomalyncd.pipeline.saved_model import save_model

        return save_model(self, Path(folder))

    def export(self, folder: str | Path, kind: str = "onnx", *, overwrite: bool = False) -> Path:
        """Write the model as a graph that runs without torch; `deployment.Runtime` uses it.

        Args:
            folder: new or empty.
            kind: ``onnx`` or ``openvino``.
            overwrite: replace an earlier export.

        Raises:
            NotFittedError: nothing was fitted.
            MissingDependencyError: a package of the extra ``export`` is absent.
            ConfigurationError: the backbone or the outlier score cannot become a graph.
            OutputError: the folder holds other files, or cannot be written.
        """
        from protoanomalyncd.deployment.export import export_model

        return export_model(self, folder, kind, overwrite=overwrite)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | None = None) -> ProtoAnomalyNCD:
        """Read what `save_pretrained` wrote.

        Raises:
            ModelFormatError: the folder is incomplete, damaged, or of a newer version.
        """
        from protoanomalyncd.pipeline.saved_model import load_model

        return load_model(cls, Path(folder), device)

    def _evidence(
        self,
        found: Sequence[CroppedImage],
        store: MapStore,
        objects: ObjectStore,
        maps: str | Path | None,
        keeper: object,
    ) -> StoredEvidence:
        paths = {i.sample.name: i.sample.path for i in found}
        settings = self._settings(maps)
        return StoredEvidence(paths, store, self.map_range_, self.config.mebin, settings, keeper, objects)

    def _backbone(self) -> Backbone:
        return self._given_backbone or create_backbone(self.config.embedding.backbone)

    def _create_source(
        self, backbone: Backbone, dataset: Dataset, maps: str | Path | None
    ) -> AnomalyMapSource:
        name = choose(
            self.config.detector.source,
            has_normal=bool(dataset.normal),
            has_maps=maps is not None,
        )
        backbone.module().to(self.config.device)
        return create(
            name,
            backbone=backbone,
            folder=maps,
            image_size=self.config.detector.image_size,
            memory_size=self.config.detector.memory_size,
            whitening=self.config.detector.whitening,
            smoothing=self.config.detector.smoothing,
            coarse_smoothing=self.config.detector.coarse_smoothing,
            reference_images=self.config.detector.reference_images,
            search=self.config.detector.search,
            seed=self.config.seed,
            device=self.config.device,
        )

    def _source_for(self, maps: str | Path | None) -> AnomalyMapSource:
        """The fitted source, or the folder given now."""
        if self._source is None:
            raise NotFittedError("predict: call fit or from_pretrained first")
        fitted_with_folder = self._source.name == "folder"
        if fitted_with_folder and maps is None:
            raise ConfigurationError(
                "this model was fitted with maps from a folder: expected --maps FOLDER with the "
                "maps of the new images, got none"
            )
        if not fitted_with_folder and maps is not None:
            raise ConfigurationError(
                f"this model was fitted with its own detector ({self._source.name}): expected no "
                f"--maps, got {maps}; maps of another detector have another range"
            )
        if maps is None:
            return self._source
        return create("folder", self._source.arguments(), folder=maps)

    def _gather(
        self,
        found: Sequence[CroppedImage],
        features: RegionFeatures,
        left_out: tuple[Sequence[Skipped], Sequence[Skipped]],
        evidence: StoredEvidence,
        classes: Classes | None = None,
    ) -> Discovery:
        """Skipped images and notes come as `left_out`; classes default to the configured."""
        (skipped, notes), classes = left_out, classes or self.config.classes
        names = tuple(f"class {k}" for k in range(len(self.catalogue_)))
        gathered = gather(
            self.classifier_, names, found, features, skipped, evidence, self.config.seed, classes
        )
        return dataclasses.replace(gathered, notes=tuple(sorted(notes, key=lambda n: n.name)))

    def _settings(self, maps: str | Path | None) -> dict[str, object]:
        settings: dict[str, object] = {
            "backbone": self.config.embedding.backbone,
            "anomaly maps": "none" if self._source is None else self._source.name,
            "object localiser": "none" if self._localiser is None else self._localiser.name,
            "labelled base": ", ".join(self.base_classes_) or "none",
            "number of classes": self._number_of_classes(),
            "seed": self.config.seed,
            "configuration hash": self.config.hash(),
        }
        return settings | {f"seconds: {stage}": round(s, 1) for stage, s in self.seconds_.items()}

    def _number_of_classes(self) -> str:
        count = self._catalogue.count if self._catalogue else None
        if count is None:
            return f"{self.config.n_novel_classes} (given)"
        return f"{count.n_classes} (estimated by {count.method})"

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds_[name] = self.seconds_.get(name, 0.0) + time.perf_counter() - start
