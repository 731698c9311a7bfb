"""Everything that was learned, as one frozen record: what is saved, exported, and predicts."""

from __future__ import annotations

from dataclasses import dataclass

from protoanomalyncd.anomaly_maps import AnomalyMapSource
from protoanomalyncd.catalogue import Catalogue
from protoanomalyncd.config import Config
from protoanomalyncd.core.records import MapRange
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.localisation import ObjectLocaliser

__all__ = ["FittedModel"]


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """A fitted model without its files.

    Args:
        config: settings of the fit.
        base_classes: names of the known classes.
        detector: fitted source of anomaly maps.
        localiser: where the object is.
        map_range: range of the fitted set's anomaly maps.
        classifier: encoder, prototypes and outlier score.
        catalogue: names and mergers of classes: decisions of people, the only part that changes.
    """

    config: Config
    base_classes: tuple[str, ...]
    detector: AnomalyMapSource
    localiser: ObjectLocaliser
    map_range: MapRange
    classifier: RegionClassifier
    catalogue: Catalogue

    def settings(self) -> dict[str, object]:
        """Flat name -> value, for "how this was made"."""
        count = self.catalogue.count
        given = f"{self.config.n_novel_classes} (given)"
        return {
            "backbone": self.classifier.encoder.backbone.name,
            "anomaly maps": self.detector.name,
            "object localiser": self.localiser.name,
            "labelled base": ", ".join(self.base_classes) or "none",
            "number of classes": given
            if count is None
            else f"{count.n_classes} (estimated by {count.method})",
            "seed": self.config.seed,
            "configuration hash": self.config.hash(),
        }
