"""Settings of object localisation."""

from __future__ import annotations

from dataclasses import dataclass

from protoanomalyncd.config.checks import check_types, require

__all__ = ["LocaliserConfig"]


@dataclass(frozen=True)
class LocaliserConfig:
    """Where the object is, and what is done with that.

    Args:
        source: registered name of an `ObjectLocaliser`: ``none`` (everything is object, right for
            textures), ``folder`` (masks of your own), ``grounded_sam`` or ``sam3``.
        prompt: what the object is called, in English; several names are separated by full stops:
            "washer. gear".
        prompts: YAML file that maps products to prompts; asked where there is no `prompt`.
        product: entry of `prompts`; None = the name of the images' folder.
        box_detector: Grounding DINO for ``grounded_sam``: ``local-dir:FOLDER``, or the name of a
            model on the hub, which downloads it.
        segmenter: SAM or SAM 2 for ``grounded_sam``, SAM 3 for ``sam3``; as `box_detector`.
        score_threshold: least score of a box, or of SAM 3's object; None = the localiser's own:
            0.35 for ``grounded_sam``, 0.5 for ``sam3``.
        max_objects: most objects taken in an image, the surest first.
        max_box_area: where several objects are found, those that cover at least this share of the
            image are the background and left out.
        min_area: less than this share of the image is no object: the whole image is used.
        largest_component: keep only the largest connected piece.
        fill_holes: holes in the object belong to it, for the segmenter may have taken a stain or a
            hole for background.
        margin: by how much the mask grows, as a share of the image's longer side: a broken edge
            lies outside of what is left of the object.
        mask_maps: outside the object the anomaly map counts as normal, before anything else is done
            with it.
    """

    source: str = "none"
    prompt: str | None = None
    prompts: str | None = None
    product: str | None = None
    box_detector: str | None = None
    segmenter: str | None = None
    score_threshold: float | None = None
    max_objects: int = 10
    max_box_area: float = 0.95
    min_area: float = 0.01
    largest_component: bool = False
    fill_holes: bool = True
    margin: float = 0.01
    mask_maps: bool = False

    def __post_init__(self) -> None:
        check_types(self, "localiser.")
        for name in ("prompt", "prompts", "product", "box_detector", "segmenter"):
            value = getattr(self, name)
            require(
                value is None or bool(value.strip()), f"localiser.{name}", "text or null", value
            )
        require(
            self.score_threshold is None or 0 <= self.score_threshold <= 1,
            "localiser.score_threshold",
            "in [0, 1] or null",
            self.score_threshold,
        )
        require(self.max_objects >= 1, "localiser.max_objects", "at least 1", self.max_objects)
        require(
            0 < self.max_box_area <= 1, "localiser.max_box_area", "in (0, 1]", self.max_box_area
        )
        require(0 <= self.min_area < 1, "localiser.min_area", "in [0, 1)", self.min_area)
        require(0 <= self.margin <= 0.5, "localiser.margin", "in [0, 0.5]", self.margin)
