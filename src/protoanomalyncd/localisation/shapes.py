"""From the candidates of a network to one object mask. Source: *ours*.

Letters: n candidates in an image of H x W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np

from protoanomalyncd.core.checks import Range, check_types
from protoanomalyncd.core.records import FloatArray, MaskArray

__all__ = ["ObjectRules", "choose_objects", "clip_boxes", "fill_holes", "largest_piece", "tidy"]


@dataclass(kw_only=True, eq=False)
class ObjectRules:
    """What counts as the object; options of every localiser that asks a network.

    Args:
        max_objects: most objects taken in an image, the surest first.
        max_box_area: where several objects are found, those that cover at least this share of the
            image are the background and left out.
        min_area: less than this share of the image is no object: the whole image is used.
        largest_component: keep only the largest connected piece.
        fill_holes: holes in the object belong to it, for the segmenter may have taken a stain or a
            hole for background.
        margin: by how much the mask grows, as a share of the image's longer side: a broken edge
            lies outside of what is left of the object.
    """

    max_objects: Annotated[int, Range(1)] = 10
    max_box_area: Annotated[float, Range(0, 1, "(]")] = 0.95
    min_area: Annotated[float, Range(0, 1, "[)")] = 0.01
    largest_component: bool = False
    fill_holes: bool = True
    margin: Annotated[float, Range(0, 0.5)] = 0.01

    def __post_init__(self) -> None:
        check_types(self, "localiser.")


def clip_boxes(boxes: FloatArray, height: int, width: int) -> FloatArray:
    """Boxes (n, 4), x0 y0 x1 y1 [px], cut at the image's border; float32."""
    low, high = np.zeros(4, np.float32), np.array([width, height, width, height], np.float32)
    clipped: FloatArray = np.clip(boxes.reshape(-1, 4), low, high).astype(np.float32)
    return clipped


def choose_objects(scores: FloatArray, shares: FloatArray, rules: ObjectRules) -> list[int]:
    """Which candidates are objects.

    An empty candidate is none. One that covers nearly the whole image is the background, unless
    there is no other: then the object fills the image.

    Args:
        scores: (n,), larger = surer.
        shares: share of the image that each covers, (n,).
        rules: `max_objects`, `max_box_area`.

    Returns:
        Indices, the surest first; of equally sure ones the larger, then the earlier.
    """
    order = [i for i in np.lexsort((-shares, -scores)).tolist() if shares[i] > 0]
    smaller = [i for i in order if shares[i] < rules.max_box_area]
    return (smaller or order)[: rules.max_objects]


def tidy(mask: MaskArray, rules: ObjectRules) -> MaskArray:
    """The largest piece, if wanted; holes filled; grown by the margin; (H, W) -> (H, W)."""
    if rules.largest_component:
        mask = largest_piece(mask)
    if rules.fill_holes:
        mask = fill_holes(mask)
    radius = round(rules.margin * max(mask.shape))
    if radius > 0:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        mask = np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)
    return mask


def largest_piece(mask: MaskArray) -> MaskArray:
    """The 8-connected component with most pixels; of equal ones that which comes first by rows."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=8
    )
    if count <= 2:  # the background, and at most one component
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    best = min(
        (np.flatnonzero(areas == areas.max()) + 1).tolist(),
        key=lambda label: int(np.flatnonzero(labels.ravel() == label)[0]),
    )
    return np.asarray(labels == best)


def fill_holes(mask: MaskArray) -> MaskArray:
    """Sets every background component (4-connected) that does not touch the image's border."""
    seen = np.pad(mask, 1).view(np.uint8)
    cv2.floodFill(seen, None, (0, 0), 1)
    return np.asarray(mask | (seen[1:-1, 1:-1] == 0))
