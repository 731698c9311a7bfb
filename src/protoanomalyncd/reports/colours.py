"""One colour a class, the same everywhere on the page.

Twenty colours for defects, the first five of them from Okabe and Ito's palette; the other fifteen
were chosen one by one, each farthest (OKLab) from all before it under normal vision and simulated
protan, deutan and tritan vision. No twenty colours are safe for everybody, so a colour never
stands alone on the page: the name is always beside it. Beyond twenty classes they repeat.
"""

from __future__ import annotations

from protoanomalyncd.core.records import OUTLIER, Discovery

__all__ = ["DEFECT_COLOURS", "NORMAL_COLOUR", "OUTLIER_COLOUR", "class_colour"]

NORMAL_COLOUR = "#009e73"
OUTLIER_COLOUR = "#8c8c8c"
DEFECT_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#cc79a7",
    "#d55e00",
    "#56b4e9",
    "#8a435b",
    "#8cd19e",
    "#b858ea",
    "#3a43d6",
    "#c42193",
    "#ba2e17",
    "#fd7dcd",
    "#9fab80",
    "#3d627c",
    "#707a52",
    "#4d6824",
    "#14d3f7",
    "#5ecd61",
    "#617fbc",
    "#7538ae",
)


def class_colour(discovery: Discovery, class_id: int) -> str:
    """Colour of a class id as ``#rrggbb``; depends on the id only, not on the class sizes."""
    if class_id == OUTLIER:
        return OUTLIER_COLOUR
    normal = discovery.normal_class
    if class_id == normal:
        return NORMAL_COLOUR
    position = class_id - (1 if normal is not None and class_id > normal else 0)
    return DEFECT_COLOURS[position % len(DEFECT_COLOURS)]
