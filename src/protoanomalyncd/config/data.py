"""Settings from the anomaly map to the crop: MEBin, crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protoanomalyncd.core.checks import Range, check_types

__all__ = ["CropConfig", "MEBinConfig"]


@dataclass(frozen=True)
class MEBinConfig:
    """Main element binarisation.

    Args:
        resolution: side of the square to which a map is resized before the sweep [px]; None = three
            times the map's longer side, as far as that is at most 512.
        step: distance of two thresholds [1/255 of the range].
        min_run: thresholds in a row with the same count that make it stable.
        run_position: where in the stable run the threshold is taken, 0 = its highest, 1 = its
            lowest threshold.
        erosion: side of the erosion kernel [px at `resolution`]; 0 = none.
        min_area: smaller components do not count and leave the mask [pixels of the map as it came].
        normal_quantile: share of the held-out normal images whose maximum lies below the range.
        set_quantile: share of the set's images whose maximum lies below the range where no held-out
            normal image is known (maps from a folder, zero-shot maps); 0 = none does, as published.
        normals_in_set: whether the unlabelled set holds normal images; asked only where no held-out
            normal image is known. False: the range starts at the typical background instead.
    """

    resolution: Annotated[int, Range(32, 4096)] | None = None
    step: Annotated[int, Range(1, 64)] = 4
    min_run: Annotated[int, Range(1)] = 2
    run_position: Annotated[float, Range(0, 1)] = 0.5
    erosion: Annotated[int, Range(0)] = 0
    min_area: Annotated[float, Range(0)] = 1.0
    normal_quantile: Annotated[float, Range(0, 1, "(]")] = 0.5
    set_quantile: Annotated[float, Range(0, 1, "[)")] = 0.1
    normals_in_set: bool = True

    def __post_init__(self) -> None:
        check_types(self, "mebin.")


@dataclass(frozen=True)
class CropConfig:
    """Anomaly-centred crops; they stay inside the image, and what is not square is squashed.

    Args:
        margin: half side of a crop as a share of the longer side of its box.
        min_half_side: smallest half side, as a share of the image's longer side.
        max_enlargement: a crop shows at least `size` / this many pixels of the image, so that a
            small region keeps its surroundings and its scale; None = no such limit.
        max_regions: most regions kept in an image, the most anomalous first.
        size: side of the stored crop [px].
    """

    margin: Annotated[float, Range(0, ends="()")] = 0.55
    min_half_side: Annotated[float, Range(0, 0.5, "(]")] = 0.1
    max_enlargement: Annotated[float, Range(0, ends="()")] | None = 1.65
    max_regions: Annotated[int, Range(1)] = 8
    size: Annotated[int, Range(32)] = 256

    def __post_init__(self) -> None:
        check_types(self, "crops.")
