"""Settings from the anomaly map to the crop: MEBin, crops."""

from __future__ import annotations

from dataclasses import dataclass

from protoanomalyncd.core.checks import check_types, require

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

    resolution: int | None = None
    step: int = 4
    min_run: int = 2
    run_position: float = 0.5
    erosion: int = 0
    min_area: float = 1.0
    normal_quantile: float = 0.5
    set_quantile: float = 0.1
    normals_in_set: bool = True

    def __post_init__(self) -> None:
        check_types(self, "mebin.")
        require(
            self.resolution is None or 32 <= self.resolution <= 4096,
            "mebin.resolution",
            "32 to 4096 or null",
            self.resolution,
        )
        require(1 <= self.step <= 64, "mebin.step", "1 to 64", self.step)
        require(self.min_run >= 1, "mebin.min_run", "at least 1", self.min_run)
        require(0 <= self.run_position <= 1, "mebin.run_position", "in [0, 1]", self.run_position)
        require(self.erosion >= 0, "mebin.erosion", "at least 0", self.erosion)
        require(self.min_area >= 0, "mebin.min_area", "at least 0", self.min_area)
        require(
            0 < self.normal_quantile <= 1,
            "mebin.normal_quantile",
            "in (0, 1]",
            self.normal_quantile,
        )
        require(0 <= self.set_quantile < 1, "mebin.set_quantile", "in [0, 1)", self.set_quantile)


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

    margin: float = 0.55
    min_half_side: float = 0.1
    max_enlargement: float | None = 1.65
    max_regions: int = 8
    size: int = 256

    def __post_init__(self) -> None:
        check_types(self, "crops.")
        require(self.margin > 0, "crops.margin", "above 0", self.margin)
        require(
            0 < self.min_half_side <= 0.5, "crops.min_half_side", "in (0, 0.5]", self.min_half_side
        )
        require(
            self.max_enlargement is None or self.max_enlargement > 0,
            "crops.max_enlargement",
            "above 0, or null",
            self.max_enlargement,
        )
        require(self.max_regions >= 1, "crops.max_regions", "at least 1", self.max_regions)
        require(self.size >= 32, "crops.size", "at least 32", self.size)
