"""New images by a fitted model, without retraining."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.anomaly_maps import AnomalyMapSource, create
from protoanomalyncd.core.errors import ConfigurationError, InputError
from protoanomalyncd.core.records import Discovery, FloatArray, Sample, Skipped
from protoanomalyncd.core.registry import Component
from protoanomalyncd.core.threads import ordered_map, worker_count
from protoanomalyncd.discovery.classifier import Classes
from protoanomalyncd.discovery.outliers import RegionFeatures
from protoanomalyncd.localisation import locate_all
from protoanomalyncd.localisation.choice import localiser_for
from protoanomalyncd.pipeline.fitted_model import FittedModel
from protoanomalyncd.pipeline.inputs import Inputs, by_content
from protoanomalyncd.pipeline.result import discovery_of
from protoanomalyncd.pipeline.stages import CroppedImage, Cutter, crop_set
from protoanomalyncd.pipeline.workspace import Workspace

__all__ = ["predict_images"]


def predict_images(
    model: FittedModel, inputs: Inputs, work: Workspace, classes: Classes | None = None
) -> Discovery:
    """Class images, in the catalogue's names.

    Args:
        model: fitted.
        inputs: images, and maps or object masks where the model was fitted with some.
        work: keeps maps and masks.
        classes: which may win; None = as the model was fitted.

    Raises:
        ConfigurationError: maps or object masks are missing, or not wanted.
    """
    config, classifier = model.config, model.classifier
    detector = _detector_for(model, inputs.maps)
    localiser = localiser_for(model.localiser, inputs.object_masks)
    cutter = Cutter(model.map_range, config.mebin, config.crops)
    ordered = by_content(inputs.dataset.unlabelled, work.skipped)
    samples = [sample for _, sample in ordered]
    keys = {sample.name: key for key, sample in ordered}
    work.notes += locate_all(localiser, samples, work.objects, work.on_progress)

    def one(
        scored: tuple[Sample, FloatArray | Skipped],
    ) -> tuple[CroppedImage, RegionFeatures] | Skipped:
        sample, amap = scored
        if isinstance(amap, Skipped):
            return amap
        work.maps.put(sample.name, amap)
        try:
            cropped = cutter(sample, keys[sample.name], work)
        except InputError as error:
            return Skipped(sample.name, str(error))
        return cropped[0], classifier.features(crop_set([cropped]))

    images: list[CroppedImage] = []
    rows: list[RegionFeatures] = []
    results = ordered_map(detector.score(samples), one, worker_count(config.device))
    for done, result in enumerate(results, 1):
        work.on_progress("classify images", done, len(samples))
        if isinstance(result, Skipped):
            work.skipped.append(result)
        else:
            images.append(result[0])
            rows.append(result[1])
    found = discovery_of(model, images, RegionFeatures.join(rows), work, classes)
    return model.catalogue.apply(found)


def _detector_for(model: FittedModel, maps: Path | None) -> AnomalyMapSource:
    """The fitted detector, or the folder given now."""
    fitted_with_folder = model.detector.name == "folder"
    if fitted_with_folder and maps is None:
        raise ConfigurationError(
            "this model was fitted with maps from a folder: expected --maps FOLDER with the "
            "maps of the new images, got none"
        )
    if not fitted_with_folder and maps is not None:
        raise ConfigurationError(
            f"this model was fitted with its own detector ({model.detector.name}): expected no "
            f"--maps, got {maps}; maps of another detector have another range"
        )
    if maps is None:
        return model.detector
    return create(Component("folder", model.detector.arguments()), folder=maps)
