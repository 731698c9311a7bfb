"""The steps of a fit at which methods differ; research replaces them by published ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protoanomalyncd.core.records import MapRange
from protoanomalyncd.regions.collect import CroppedRegion, crop_labelled, crop_unlabelled
from protoanomalyncd.regions.map_range import fit_range
from protoanomalyncd.training import Trainer
from protoanomalyncd.training.token_cache import Augment
from protoanomalyncd.training.views import augmented_view
from protoanomalyncd.vit import GuidedEncoder

__all__ = ["Steps"]


@dataclass(frozen=True, slots=True)
class Steps:
    """What `Fit` calls; the product's own by default.

    Args:
        range_of: maxima of the maps -> their range; see `fit_range`.
        crop: an image and its map -> its regions; see `crop_unlabelled`.
        crop_labelled: an image and its mask -> its region; see there.
        augment: a crop and what guides in it -> an augmented view; see `augmented_view`.
        encoder: crop -> embedding.
        trainer: of the encoder's tail and the prototypes; takes what `Trainer` takes.
    """

    range_of: Callable[..., MapRange] = fit_range
    crop: Callable[..., list[CroppedRegion]] = crop_unlabelled
    crop_labelled: Callable[..., CroppedRegion] = crop_labelled
    augment: Augment = augmented_view
    encoder: type[GuidedEncoder] = GuidedEncoder
    trainer: Callable[..., Trainer] = Trainer
