"""Room between the maps and the regions: where the object is.

Clutter beside the object is no defect. A localiser gives an object mask O for each image; it guides
the class token (background is pushed down), it is what a region's size is measured against, and, if
wanted, it silences the anomaly map outside of the object.

    none            everything is object: textures
    folder          masks of your own
    grounded_sam    a text prompt -> Grounding DINO's boxes -> SAM's or SAM 2's masks
    sam3            a text prompt -> SAM 3's masks

Source: the paper names Grounded SAM and its purpose; the rest is ours.

    >>> localiser = create_localiser(                                        # doctest: +SKIP
    ...     "grounded_sam",
    ...     prompt="washer",
    ...     box_detector="local-dir:models/grounding-dino-tiny",
    ...     segmenter="local-dir:models/sam-vit-base",
    ... )
    >>> for sample, found in localiser.locate(samples):                      # doctest: +SKIP
    ...     ...

Another localiser: implement `ObjectLocaliser` and register it (docs/how_to/objects.md).
"""

from protoanomalyncd.localisation.base import Located, ObjectLocaliser
from protoanomalyncd.localisation.folder import FolderMasks
from protoanomalyncd.localisation.grounded_sam import GroundedSAM
from protoanomalyncd.localisation.objects import MaskedMaps, ObjectStore, locate_all, map_store
from protoanomalyncd.localisation.prompts import prompt_for, read_prompts
from protoanomalyncd.localisation.registry import (
    LOCALISERS,
    create_localiser,
    register_localiser,
    registered_localisers,
)
from protoanomalyncd.localisation.sam3 import SAM3
from protoanomalyncd.localisation.whole import WholeImage

__all__ = [
    "LOCALISERS",
    "SAM3",
    "FolderMasks",
    "GroundedSAM",
    "Located",
    "MaskedMaps",
    "ObjectLocaliser",
    "ObjectStore",
    "WholeImage",
    "create_localiser",
    "locate_all",
    "map_store",
    "prompt_for",
    "read_prompts",
    "register_localiser",
    "registered_localisers",
]
