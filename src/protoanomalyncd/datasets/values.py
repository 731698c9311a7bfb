"""Single-channel files whose grey values carry a meaning: published masks, before preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from protoanomalyncd.core.errors import ImageError
from protoanomalyncd.datasets.images import decode

__all__ = ["read_values"]


def read_values(path: Path) -> npt.NDArray[np.uint8]:
    """Grey values (or palette indices) of an 8-bit file, unchanged; ``(H, W)``.

    Raises:
        ImageError: the file is missing, damaged, or not of one 8-bit channel.
    """
    picture = decode(path)
    if picture.mode not in ("L", "P", "1"):
        raise ImageError(
            f"{path}: expected a mask with one 8-bit channel, got mode {picture.mode}; fetch the "
            "data set again"
        )
    values = np.asarray(picture)
    return values.astype(np.uint8) * np.uint8(255) if picture.mode == "1" else values
