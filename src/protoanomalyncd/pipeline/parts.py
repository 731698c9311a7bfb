"""The components of a fit: given as objects, or built by their names in the settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from protoanomalyncd.anomaly_maps import AnomalyMapSource, check_detector, choose, create
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.datasets import Dataset
from protoanomalyncd.discovery.outliers import SCORES, OutlierScore, create_outlier_score
from protoanomalyncd.localisation import ObjectLocaliser
from protoanomalyncd.localisation.choice import check_localiser, choose_localiser
from protoanomalyncd.vit import Backbone, create_backbone

__all__ = ["Parts", "check_device"]


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks.

    Raises:
        ConfigurationError: torch cannot put a number there.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ConfigurationError(
            f"device: expected one that this machine has, such as cpu, got {device!r} ({reason})"
        ) from error


@dataclass(frozen=True, slots=True)
class Parts:
    """Makes what a fit is made of.

    Args:
        config: names the components and their options.
        backbone: given as an object; None = by name, as with all that follow.
        detector: source of anomaly maps.
        localiser: says where the object is.
        outlier_score: what it was constructed with counts; fresh ones are made like it.
    """

    config: Config
    backbone: Backbone | None = None
    detector: AnomalyMapSource | None = None
    localiser: ObjectLocaliser | None = None
    outlier_score: OutlierScore | None = None

    def check(self, maps: Path | None, object_masks: Path | None) -> None:
        """Refuse components and options that no data can make right, before anything is done.

        Args:
            maps: folder of given maps; None = none are given.
            object_masks: folder of given masks; None = none are given.

        Raises:
            ConfigurationError: a component is unknown, lacks an option, or stands beside a folder
                that does its work.
        """
        for part, folder in ((self.detector, maps), (self.localiser, object_masks)):
            if part is not None and folder is not None:
                raise ConfigurationError(
                    f"{part.name} was given as an object: expected no folder beside it, got "
                    f"{folder}; leave out one of them"
                )
        if self.detector is None:
            check_detector(self.config.detector, maps)
        if self.localiser is None:
            check_localiser(self.config.localiser, object_masks)
        if self.outlier_score is None:
            SCORES.check(self.config.outliers.score)

    def make_backbone(self) -> Backbone:
        """The network, on the configured device.

        Raises:
            ConfigurationError: there is no such network.
            MissingDependencyError: its weights cannot be fetched.
        """
        backbone = self.backbone or create_backbone(self.config.embedding.backbone)
        backbone.module().to(self.config.device)
        return backbone

    def make_localiser(self, product: str, object_masks: Path | None) -> ObjectLocaliser:
        """What finds the object; see `choose_localiser`."""
        if self.localiser is not None:
            return self.localiser
        return choose_localiser(self.config.localiser, product, object_masks, self.config.device)

    def make_detector(
        self, backbone: Backbone, dataset: Dataset, maps: Path | None
    ) -> AnomalyMapSource:
        """What gives anomaly maps, not fitted.

        Args:
            backbone: may be used by it.
            dataset: has normal images or not.
            maps: folder of given maps; None = none are given.
        """
        if self.detector is not None:
            return self.detector
        return create(
            choose(self.config.detector, maps, bool(dataset.normal)),
            backbone=backbone,
            folder=maps,
            seed=self.config.seed,
            device=self.config.device,
        )

    def make_outlier_score(self) -> OutlierScore:
        """What tells how strange a region is, not fitted."""
        given = self.outlier_score
        if given is not None:
            return type(given)(**given.arguments())
        return create_outlier_score(self.config.outliers.score)
