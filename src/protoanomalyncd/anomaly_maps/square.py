"""Images as the built-in detectors see them: squares of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from protoanomalyncd.datasets.images import read_image
from protoanomalyncd.structures import ImageArray

__all__ = ["read_square"]


def read_square(path: Path, side: int) -> ImageArray:
    """Image file -> uint8 (side, side, 3), antialiased.

    Raises:
        ImageError: see `read_image`.
    """
    square = Image.fromarray(read_image(path)).resize((side, side), Image.Resampling.BILINEAR)
    return np.array(square, np.uint8)
