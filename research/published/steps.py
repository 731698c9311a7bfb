"""From the options of a published method to the steps of a fit."""

from __future__ import annotations

from functools import partial

from protoanomalyncd.pipeline.steps import Steps
from protoanomalyncd.regions.map_range import fit_range
from protoanomalyncd.training.views import augmented_view
from protoanomalyncd.vit import GuidedEncoder
from research.published.binarisation import range_of_maxima
from research.published.guidance import ReferenceEncoder
from research.published.options import Published
from research.published.regions import PublishedCropper
from research.published.trainer import PublishedTrainer
from research.published.views import reference_recolour

__all__ = ["steps_of"]


def steps_of(options: Published) -> Steps:
    """Steps with which the pipeline's fit does what the options say."""
    if options == Published():
        return Steps()
    cropper = PublishedCropper(options.mebin == "reference", options.crops == "reference")
    recolour = reference_recolour if options.recolouring == "reference" else None
    return Steps(
        encoder=ReferenceEncoder if options.guidance == "reference" else GuidedEncoder,
        trainer=partial(PublishedTrainer, options=options),
        range_of=range_of_maxima if options.mebin == "reference" else fit_range,
        crop=cropper.crop,
        crop_labelled=cropper.crop_labelled,
        augment=partial(augmented_view, recolour=recolour),
    )
