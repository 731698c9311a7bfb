"""Settings from the anomaly map to the crop: MEBin, crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protoanomalyncd.core.checks import check_types, require

__all__ = ["CropConfig", "MEBinConfig"]


@dataclass(frozen=True)
class MEBinConfig:
    """Main element binarisation.

    Args:
        mode: ``default`` (float maps, thin defects kept) or ``reference`` (AnomalyNCD's 8-bit
            procedure, step for step).
        resolution: side of the square to which a map is resized before the sweep [px]; None = the
            mode's own: 256 in ``reference``, three times the map's longer
            side, as far as that is at most 512, in ``default``.
        step: distance of two thresholds [1/255 of the range].
        min_run: thresholds in a row with the same count that make it stable; None = the mode's
            own: 4 in ``reference``, 2 in ``default``.
        run_position: where in the stable run the threshold is taken, 0 = its highest, 1 = its
            lowest threshold; ``default`` mode only, ``reference`` takes the lowest.
        erosion: side of the erosion kernel [px at `resolution`]; 0 = none; None = the mode's own: 6
            in ``reference``, none in ``default``.
        min_area: smaller components do not count and leave the mask; ``default`` mode only
            [pixels of the map as it came].
        normal_quantile: share of the held-out normal images whose maximum lies below the range;
            ``default`` mode only.
        set_quantile: share of the set's images whose maximum lies below the range where no held-out
            normal image is known (maps from a folder, zero-shot maps); 0 = none does, as published;
            ``default`` mode only.
        normals_in_set: whether the unlabelled set holds normal images; asked only where no held-out
            normal image is known. False: the range starts at the typical background instead.
    """

    mode: Literal["default", "reference"] = "default"
    resolution: int | None = None
    step: int = 4
    min_run: int | None = None
    run_position: float = 0.5
    erosion: int | None = None
    min_area: float = 1.0
    normal_quantile: float = 0.5
    set_quantile: float = 0.1
    normals_in_set: bool = True

    def __post_init__(self) -> None:
        check_types(self, "mebin.")
        require(
            self.mode in ("default", "reference"), "mebin.mode", "default or reference", self.mode
        )
        require(
            self.resolution is None or 32 <= self.resolution <= 4096,
            "mebin.resolution",
            "32 to 4096 or null",
            self.resolution,
        )
        require(1 <= self.step <= 64, "mebin.step", "1 to 64", self.step)
        require(
            self.min_run is None or self.min_run >= 1,
            "mebin.min_run",
            "at least 1 or null",
            self.min_run,
        )
        require(0 <= self.run_position <= 1, "mebin.run_position", "in [0, 1]", self.run_position)
        require(
            self.erosion is None or self.erosion >= 0,
            "mebin.erosion",
            "at least 0 or null",
            self.erosion,
        )
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
    """Anomaly-centred crops.

    Args:
        mode: ``default`` (crops stay inside the image or are padded by reflection; a whole image is
            squashed to a square) or ``reference`` (AnomalyNCD: black padding, extra box).
        margin: half side of a crop as a share of the longer side of its box.
        min_half_side: smallest half side, as a share of the image's longer side.
        max_half_side: largest half side, as a share of the image's longer side.
        max_enlargement: a crop shows at least `size` / this many pixels of the image, so that a
            small region keeps its surroundings and its scale; None = no such limit. ``default``
            mode only.
        merge_distance: crops nearer than this share of the image's longer side become one.
        max_regions: most regions kept in an image, the most anomalous first.
        overhang: where a crop is longer than the image's shorter side: ``squash`` the rectangle
            that fits to a square, or fill the square up by ``reflect``; ``default`` mode only.
        size: side of the stored crop [px].
    """

    mode: Literal["default", "reference"] = "default"
    margin: float = 0.55
    min_half_side: float = 0.1
    max_half_side: float = 0.5
    max_enlargement: float | None = 1.65
    merge_distance: float = 0.01
    max_regions: int = 8
    overhang: Literal["squash", "reflect"] = "squash"
    size: int = 256

    def __post_init__(self) -> None:
        check_types(self, "crops.")
        require(
            self.mode in ("default", "reference"), "crops.mode", "default or reference", self.mode
        )
        require(self.margin > 0, "crops.margin", "above 0", self.margin)
        require(
            0 < self.min_half_side <= self.max_half_side,
            "crops.min_half_side",
            "above 0 and at most crops.max_half_side",
            self.min_half_side,
        )
        require(
            self.max_enlargement is None or self.max_enlargement > 0,
            "crops.max_enlargement",
            "above 0, or null",
            self.max_enlargement,
        )
        require(self.merge_distance >= 0, "crops.merge_distance", "at least 0", self.merge_distance)
        require(self.max_regions >= 1, "crops.max_regions", "at least 1", self.max_regions)
        require(
            self.overhang in ("squash", "reflect"),
            "crops.overhang",
            "squash or reflect",
            self.overhang,
        )
        require(self.size >= 32, "crops.size", "at least 32", self.size)
