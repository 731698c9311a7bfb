"""`ProtoAnomalyNCD`: fit, predict, report, save, export; the facade of the package.

images -> anomaly maps -> regions -> guided embeddings -> prototypes -> classes of regions, images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from protoanomalyncd.anomaly_maps import AnomalyMapSource
from protoanomalyncd.catalogue import Catalogue
from protoanomalyncd.config import Component, Config
from protoanomalyncd.core.errors import NotFittedError
from protoanomalyncd.core.records import Discovery, MapRange, Progress, Sample
from protoanomalyncd.datasets import Dataset, LabelledSet
from protoanomalyncd.deployment.export import export_model
from protoanomalyncd.discovery.classifier import Classes, RegionClassifier
from protoanomalyncd.discovery.outliers import OutlierScore
from protoanomalyncd.localisation import ObjectLocaliser
from protoanomalyncd.pipeline.fit import Fit
from protoanomalyncd.pipeline.fitted_model import FittedModel
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.pipeline.parts import Parts, check_device
from protoanomalyncd.pipeline.predict import predict_images
from protoanomalyncd.pipeline.saved_model import load_model, save_model
from protoanomalyncd.pipeline.workspace import Workspace, silent
from protoanomalyncd.reports.compose import compose_report
from protoanomalyncd.vit import Backbone

__all__ = ["ProtoAnomalyNCD"]


class Components(TypedDict, total=False):
    """What `ProtoAnomalyNCD` is made of: names, mappings (a name and options), or objects."""

    backbone: str | Backbone | None
    detector: str | Mapping[str, Any] | AnomalyMapSource | None
    localiser: str | Mapping[str, Any] | ObjectLocaliser | None
    outlier_score: str | Mapping[str, Any] | OutlierScore | None


class ProtoAnomalyNCD:
    """Discovers the classes behind anomaly maps, and names new images by them.

    Args:
        config: every setting; the arguments below replace single ones.
        n_novel_classes: classes of the unlabelled set, its normal class included; ``"auto"`` =
            estimated (`discovery_.count` says how).
        seed: of every random choice.
        device: ``cpu``, ``cuda``, ...
        backbone: ``embedded``, ``local-dir:FOLDER`` or a timm name (which downloads), or an
            instance of the `Backbone` protocol.
        detector: where anomaly maps come from: a name, a mapping (its ``name`` and options beside
            it), or an instance of the `AnomalyMapSource` protocol.
        localiser: where the object is: as `detector`, an `ObjectLocaliser`.
        outlier_score: what is too strange to name: as `detector`, an `OutlierScore`.

    Attributes:
        model_: everything that was learned, frozen; a fit that fails leaves it as it was.
        discovery_: result of the last `fit`, in the catalogue's classes.
        catalogue_: names and mergers of classes.
        map_range_: range of the fitted set's anomaly maps.
        seconds_: wall clock of each stage of the last `fit` [s].
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
        seed: int | None = None,
        device: str | None = None,
        **components: Unpack[Components],
    ) -> None:
        config = config or Config()
        given = {"n_novel_classes": n_novel_classes, "seed": seed, "device": device}
        changed: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        named: dict[str, Any] = {name: part for name, part in components.items() if _by_name(part)}
        if "backbone" in named:
            embedding = dataclasses.replace(config.embedding, backbone=named.pop("backbone"))
            changed["embedding"] = embedding
        if "outlier_score" in named:
            score = Component.from_value(named.pop("outlier_score"))
            changed["outliers"] = dataclasses.replace(config.outliers, score=score)
        changed |= {name: Component.from_value(part) for name, part in named.items()}
        self.config = dataclasses.replace(config, **changed)
        check_device(self.config.device)
        given_objects: dict[str, Any] = {k: v for k, v in components.items() if not _by_name(v)}
        self._parts = Parts(self.config, **given_objects)
        self.seconds_: dict[str, float] = {}
        self.history_: list[dict[str, float]] = []
        self._model: FittedModel | None = None
        self._found: Discovery | None = None

    @property
    def model_(self) -> FittedModel:
        """Everything that was learned."""
        if self._model is None:
            raise NotFittedError(
                "this model has learned nothing yet: call fit or from_pretrained first"
            )
        return self._model

    @property
    def discovery_(self) -> Discovery:
        """What the last `fit` found, by the catalogue's present names and mergers."""
        if self._found is None:
            raise NotFittedError("discovery_: call fit first; a loaded model has predict")
        return self.catalogue_.apply(self._found)

    @property
    def catalogue_(self) -> Catalogue:
        """Names and mergers of classes."""
        return self.model_.catalogue

    @property
    def map_range_(self) -> MapRange:
        """Range of the fitted set's maps."""
        return self.model_.map_range

    @property
    def classifier_(self) -> RegionClassifier:
        """Encoder, prototypes and outlier score."""
        return self.model_.classifier

    @property
    def base_classes_(self) -> tuple[str, ...]:
        """Names of the labelled classes."""
        return self.model_.base_classes

    def fit(
        self,
        images: str | Path | Dataset,
        *,
        labelled: str | Path | LabelledSet | None = None,
        maps: str | Path | None = None,
        object_masks: str | Path | None = None,
        work_dir: str | Path | None = None,
        on_progress: Progress = silent,
    ) -> ProtoAnomalyNCD:
        """Discover the classes of a set of images.

        Args:
            images: folder in MVTec AD layout (train/good, test/...), or any folder of images;
                test labels are never read.
            labelled: base set of known defects of other products, with masks; None = none.
            maps: folder of anomaly maps of any detector; None = a built-in one, fitted on
                train/good, or on the images themselves where there are no normal ones.
            object_masks: folder of masks that say where the object is; None = as
                `Config.localiser` has it.
            work_dir: keeps intermediate results, so that an interrupted fit goes on; refused where
                it holds those of other images or settings. None = a temporary folder.
            on_progress: called with (stage, steps done, steps in all).

        Returns:
            The model itself.

        Raises:
            InputError: no usable image, map or labelled class.
            ConfigurationError: a setting does not fit the data, or `work_dir` is another fit's.
        """
        inputs = Inputs.read(images, labelled, maps, object_masks)
        self._parts.check(inputs.maps, inputs.object_masks)
        masked, skipped = self.config.mask_outside_object, inputs.dataset.skipped
        work = Workspace.open(work_dir, masked, skipped, on_progress)
        result = Fit(self.config, inputs, work, self._parts).run()
        self._model, self._found = result.model, result.discovery
        self.seconds_, self.history_ = result.seconds, result.history
        return self

    def predict(
        self,
        images: str | Path | Dataset | Sequence[Sample],
        *,
        maps: str | Path | None = None,
        object_masks: str | Path | None = None,
        classes: Classes | None = None,
        work_dir: str | Path | None = None,
        on_progress: Progress = silent,
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
        model = self.model_
        if classes is not None:
            dataclasses.replace(model.config, classes=classes)  # checks
        inputs = Inputs.read(images, None, maps, object_masks)
        masked, skipped = model.config.mask_outside_object, inputs.dataset.skipped
        work = Workspace.open(work_dir, masked, skipped, on_progress)
        return predict_images(model, inputs, work, classes)

    def report(
        self, path: str | Path, found: Discovery | None = None, title: str = "Defect classes"
    ) -> Path:
        """Write a self-contained HTML page of what was found.

        Args:
            path: of the page.
            found: what `predict` returned; None = the fitted images.
            title: of the page.

        Raises:
            NotFittedError: nothing was fitted, or `found` was read from tables, without the images
                behind it.
            OutputError: the page cannot be written.
        """
        return compose_report(self.discovery_ if found is None else found, Path(path), title)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model: safetensors + JSON, complete without the backbone's own files.

        Raises:
            NotFittedError: nothing was fitted.
            OutputError: the folder cannot be written.
        """
        return save_model(self.model_, Path(folder))

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
        return export_model(self.model_, folder, kind, overwrite=overwrite)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: str | None = None,
        localiser: Mapping[str, Any] | None = None,
    ) -> ProtoAnomalyNCD:
        """Read what `save_pretrained` wrote.

        Args:
            folder: of the model.
            device: instead of the one that it was fitted on.
            localiser: where the networks of its object localiser are on this machine, such as
                ``{"segmenter": "local-dir:models/sam3"}``; needed if it has one.

        Raises:
            ModelFormatError: the folder is incomplete, damaged, or of another version.
            ConfigurationError: its localiser needs an option that was not given.
            MissingDependencyError: a component's package is not installed.
        """
        fitted = load_model(Path(folder), device, localiser)
        model = cls(fitted.config)
        model._model = fitted
        return model


def _by_name(part: object) -> bool:
    """Whether a component is named, and not given as an object."""
    return isinstance(part, str | Mapping)
