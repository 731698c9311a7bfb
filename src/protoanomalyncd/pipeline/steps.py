"""The steps of a fit that research replaces to re-enact published methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protoanomalyncd.regions.collect import CroppedRegion, crop_labelled, crop_unlabelled
from protoanomalyncd.training import Trainer
from protoanomalyncd.vit import GuidedEncoder

__all__ = ["Steps"]


@dataclass(frozen=True, slots=True)
class Steps:
    """What `Fit` calls; the product's own by default.

    Args:
        crop: an image and its map -> its regions; see `crop_unlabelled`.
        crop_labelled: an image and its mask -> its region; see there.
        encoder: crop -> embedding.
        trainer: of the encoder's tail and the prototypes.
    """

    crop: Callable[..., list[CroppedRegion]] = crop_unlabelled
    crop_labelled: Callable[..., CroppedRegion] = crop_labelled
    encoder: type[GuidedEncoder] = GuidedEncoder
    trainer: type[Trainer] = Trainer
