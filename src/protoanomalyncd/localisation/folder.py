"""Object masks of your own, read from a folder.

Formats: ``.png``, ``.bmp``, ``.tif`` / ``.tiff`` of 1 to 16 bits, with or without palette, and
``.npy`` (h, w). In whole numbers every value but 0 is object; in float files it is what is at least
0.5. A mask covers its image whatever its own size: a 256 x 256 mask serves a 1024 x 768 image.
JPEG is not accepted: its noise would make object of everything.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from protoanomalyncd.core.errors import ConfigurationError, ImageError, reason
from protoanomalyncd.core.records import MaskArray, Sample, Skipped
from protoanomalyncd.core.registry import Registered
from protoanomalyncd.core.threads import read_ahead
from protoanomalyncd.datasets.companions import Companion, match_companions
from protoanomalyncd.datasets.images import decode, nonzero, regular_file
from protoanomalyncd.datasets.map_files import read_npy
from protoanomalyncd.localisation.base import Located
from protoanomalyncd.localisation.registry import register_localiser

__all__ = ["OBJECT_MASK_SUFFIXES", "FolderMasks", "read_object_mask"]

OBJECT_MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".npy")
_MASKS = Companion("object mask", OBJECT_MASK_SUFFIXES, ImageError)


def read_object_mask(path: Path) -> MaskArray:
    """Read one object mask of any supported format; ``bool``, ``(h, w)``.

    Raises:
        ImageError: the file is missing, damaged, empty, or not of two axes.
    """
    if path.suffix.lower() != ".npy":
        picture = decode(path)
        float_values = picture.mode == "F"
        return _as_mask(path, np.asarray(picture)) if float_values else nonzero(picture)
    regular_file(path, "an object mask", ImageError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _as_mask(path, np.squeeze(read_npy(path, ImageError)))
    except ImageError:
        raise
    except Exception as error:  # damaged headers raise nearly anything
        raise ImageError(
            f"{path}: expected an object mask, got: {reason(error)}; save it again"
        ) from error


def _as_mask(path: Path, values: np.ndarray) -> MaskArray:
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiub":
        raise ImageError(
            f"{path}: expected an object mask of numbers (h, w), got {values.dtype} "
            f"{values.shape}; save one channel"
        )
    return np.asarray(values >= 0.5 if values.dtype.kind == "f" else values != 0)


@register_localiser("folder")
class FolderMasks(Registered):
    """Masks computed by any program, one file an image.

    The folder belongs to one set of images, so it is not saved with a model: give the masks of the
    new images when the model is used again.

    Args:
        folder: matched to the images by the rules of `match_companions`; None = not known yet.
    """

    precomputed: ClassVar[bool] = True

    def __init__(self, folder: Path | str | None = None) -> None:
        self._folder = None if folder is None else Path(folder)

    def locate(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Located | Skipped]]:
        """Read the masks, each at its own resolution; the images themselves are not read.

        A mask that is missing, damaged or empty makes the whole image count, with a warning.

        Raises:
            ConfigurationError: no folder was given.
            ImageError: see `match_companions`; both are raised by the call, before the first mask.
        """
        if self._folder is None:
            raise ConfigurationError(
                "this model uses object masks from a folder: expected a folder with the masks of "
                "these images (--object-masks FOLDER), got none"
            )
        return self._stream(samples, match_companions(samples, self._folder, _MASKS))

    def _stream(
        self, samples: Sequence[Sample], paths: Mapping[str, Path]
    ) -> Iterator[tuple[Sample, Located | Skipped]]:
        def read(sample: Sample) -> Located:
            if sample.name not in paths:
                return Located(None, f"no object mask in {self._folder}; the whole image is used")
            mask = read_object_mask(paths[sample.name])
            if not mask.any():
                return Located(None, "its object mask is empty; the whole image is used")
            return Located(None if mask.all() else mask)

        for sample, result in read_ahead(samples, read):
            if isinstance(result, Skipped):  # the mask is at fault, not the image
                yield sample, Located(None, f"{result.reason}; the whole image is used")
            else:
                yield sample, result
