"""Generated inspection images: what the demonstration, the tests and the documentation show.

Nine products, five of them objects on a background (gear, pcb, tablet, tile, washer) and four
textures (brushed_metal, fabric, leather, wood), with up to eight usual types of defect and twelve
further ones that are drawn where they are named, with numpy and OpenCV. Every image has its own
generator, seeded by product, type and number: it does not depend on how many others are made.
Pictures with and without defect are equal outside the mask, so the masks are exact.

    fields.py    noise, shapes and strokes
    scene.py     what a product hands to a defect
    objects.py, board.py, textures.py    the products
    defects.py, further_defects.py   the usual defects, and the others
    picture.py   product + defect + camera -> image and mask
    writer.py    data sets on disk

Source: drawn for this project; no photograph is used.

Example:
    >>> image, mask = render("washer", "scratch", seed=3)
    >>> image.shape, mask.shape
    ((256, 256, 3), (256, 256))
"""

from protoanomalyncd.datasets.generated.picture import (
    DEFECT_TYPES,
    FURTHER_TYPES,
    PRODUCTS,
    defect_types_of,
    object_mask,
    render,
)
from protoanomalyncd.datasets.generated.writer import Counts, generate, generate_labelled

__all__ = [
    "DEFECT_TYPES",
    "FURTHER_TYPES",
    "PRODUCTS",
    "Counts",
    "defect_types_of",
    "generate",
    "generate_labelled",
    "object_mask",
    "render",
]
