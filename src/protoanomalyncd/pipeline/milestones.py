"""What stands after each stage of a fit: scored, cropped, learned, finished."""

from __future__ import annotations

from dataclasses import dataclass

from protoanomalyncd.anomaly_maps import AnomalyMapSource
from protoanomalyncd.core.records import CountEstimate, Discovery, MapRange, Sample
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.localisation import ObjectLocaliser
from protoanomalyncd.pipeline.fitted_model import FittedModel
from protoanomalyncd.pipeline.stages import CroppedImage
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.regions.crop_set import CropSet
from protoanomalyncd.regions.normal_crops import Place
from protoanomalyncd.vit import GuidedEncoder

__all__ = ["Cropped", "FitResult", "Learned", "Scored"]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """After the maps: what is known of all images.

    Args:
        ordered: unlabelled images with their content keys, in the order of these.
        detector: fitted.
        localiser: where the object is.
        map_range: of the maps in the workspace.
        places: where nothing is wrong, for the normal reference; none where none is wanted.
        knows_normal: there are normal images, and the unlabelled ones hold normal ones too.
    """

    ordered: list[tuple[str, Sample]]
    detector: AnomalyMapSource
    localiser: ObjectLocaliser
    map_range: MapRange
    places: list[Place]
    knows_normal: bool


@dataclass(frozen=True, slots=True, eq=False)
class Cropped:
    """After the regions.

    Args:
        images: unlabelled images with their regions.
        crops: of these regions, in order.
        known: crops of the labelled images, None where there are none.
        base_classes: names of the known classes.
    """

    images: list[CroppedImage]
    crops: CropSet
    known: CropSet | None
    base_classes: tuple[str, ...]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Width and height of each crop of the unlabelled images [px]."""
        boxes = [region.crop_box for image in self.images for region in image.regions]
        return [(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """After training.

    Args:
        encoder: crop -> embedding.
        head: prototypes.
        gate: tells which regions look normal; None = none is to.
        count: how the number of classes was estimated, None where it was given.
        history: mean of each term of the objective, an entry an epoch.
    """

    encoder: GuidedEncoder
    head: PrototypeHead
    gate: NormalGate | None
    count: CountEstimate | None
    history: list[dict[str, float]]


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """What a fit gives.

    Args:
        model: fitted.
        discovery: the unlabelled images and their classes, by the model's own ids.
        history: see `Learned`.
        seconds: wall clock of each stage [s].
    """

    model: FittedModel
    discovery: Discovery
    history: list[dict[str, float]]
    seconds: dict[str, float]
