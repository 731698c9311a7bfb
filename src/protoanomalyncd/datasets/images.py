"""Files -> arrays: images, masks, and the key that identifies an image by its content.

Brightness is never stretched to an image's own minimum and maximum: two images of one camera
stay comparable. So 16-bit images are scaled by the full 16-bit range, and float images, which
have no fixed range, are refused.
"""

from __future__ import annotations

import hashlib
import math
import stat
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from protoanomalyncd.core.errors import ImageError, InputError, reason
from protoanomalyncd.core.records import ImageArray, MaskArray

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MIN_SIDE",
    "PILLOW_FORMATS",
    "check_pixels",
    "content_key",
    "decode",
    "nonzero",
    "read_free_mask",
    "read_image",
    "read_mask",
    "regular_file",
]

IMAGE_SUFFIXES: tuple[str, ...] = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".pgm",
    ".ppm",
)
"""Suffixes, in lower case, of the files that count as images."""

PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
"""What Pillow may take a file for: some of its other formats start programs of the system."""

MIN_SIDE = 8
"""Shortest side of a usable image [px]."""

MAX_PIXELS = 100_000_000
"""Largest usable image [px]: beyond it a small file may unpack to gigabytes."""

_ORIENTATION = 0x0112
"""EXIF tag that says how an image is to be turned; 1 = it is upright."""


def read_image(path: str | Path) -> ImageArray:
    """Read an image as RGB.

    Grey, palette, CMYK and 16-bit images are converted; an alpha channel is dropped (not blended:
    the colours are those that the camera saw); the EXIF orientation is applied; of a file with
    several pages the first is read. 16-bit values are divided by 257.

    Args:
        path: the image file.

    Returns:
        ``uint8`` RGB, ``(H, W, 3)``.

    Raises:
        ImageError: the file is missing, empty, damaged, no image, of 32-bit values, smaller than
            `MIN_SIDE` or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    picture = decode(path)
    if picture.mode == "F" or picture.mode.startswith("I"):
        values = _sixteen_bit(path, picture)
        pixels = np.repeat(values[..., None], 3, axis=2)
    else:
        if picture.mode == "P" and "transparency" in picture.info:
            picture = picture.convert("RGBA")
        # Converted only where it must be: a copy of a large image takes long and much memory.
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
        pixels = np.asarray(rgb, np.uint8)
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"{path}: expected an image of at least {MIN_SIDE} x {MIN_SIDE} pixels, got "
            f"{pixels.shape[1]} x {pixels.shape[0]}; remove it"
        )
    return np.ascontiguousarray(pixels)


def read_mask(path: str | Path, shape: tuple[int, int]) -> MaskArray:
    """Read a ground-truth mask: every non-zero pixel is anomalous.

    Of a colour mask any non-zero channel counts; of a palette mask the index, but white where it is
    black and white; of a JPEG file what is at least half as bright as white. An alpha channel does
    not count.

    Args:
        path: the mask file.
        shape: height and width of its image [px].

    Returns:
        ``bool``, ``(H, W)``, True = anomaly.

    Raises:
        ImageError: the file is missing, damaged, no image, or not of the image's size.
    """
    mask = read_free_mask(path)
    if mask.shape != tuple(shape):
        raise ImageError(
            f"{path}: expected a mask of {shape[1]} x {shape[0]} pixels like its image, got "
            f"{mask.shape[1]} x {mask.shape[0]}; give the mask that belongs to the image"
        )
    return mask


def read_free_mask(path: str | Path) -> MaskArray:
    """Read a mask of any size, by the rules of `read_mask`; ``bool``, ``(h, w)``.

    Raises:
        ImageError: the file is missing, damaged, or no image.
    """
    return nonzero(decode(Path(path)))


def nonzero(picture: Image.Image) -> MaskArray:
    """Pixels of a decoded mask that are not zero, by the rules of `read_mask`; ``bool``, (h, w)."""
    if picture.format in ("JPEG", "MPO"):
        # Its noise would make an anomaly of what lies around one.
        return np.asarray(np.asarray(picture.convert("L")) >= 128)
    if picture.mode == "P":
        colours = {rgb for _, rgb in picture.convert("RGB").getcolors() or ()}
        if colours <= {(0, 0, 0), (255, 255, 255)}:  # whichever of the two the palette begins with
            picture = picture.convert("L")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        picture = picture.convert("L" if picture.mode[0] == "L" else "RGB")
    values = np.asarray(picture)
    mask: MaskArray = np.asarray(values != 0)
    return np.asarray(mask.any(axis=2)) if mask.ndim == 3 else mask


def content_key(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    The canonical order of processing is by this key, never by name: renaming files or folders
    then changes no result.

    Raises:
        ImageError: the file cannot be read.
    """
    regular_file(Path(path), "a readable file", ImageError)
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: expected a readable file, got: {reason(error)}") from error


def regular_file(path: Path, what: str, error: type[InputError]) -> None:
    """Refuse what is no regular file: a pipe would be waited for for ever.

    Args:
        path: the file; links are followed.
        what: what it should be, for the message.
        error: what is raised.

    Raises:
        InputError: of that type: it is missing, a folder, a pipe, or a device.
    """
    try:
        found = path.stat()
    except OSError as cause:
        raise error(f"{path}: expected {what}, got: {reason(cause)}; check the path") from cause
    if not stat.S_ISREG(found.st_mode):
        came = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise error(f"{path}: expected {what}, got {came}; give the file itself")


def check_pixels(path: Path, shape: tuple[int, ...], error: type[InputError]) -> None:
    """Refuse a file whose header announces more than `MAX_PIXELS` values; before it is decoded.

    Args:
        path: the file, for the message.
        shape: of its array, as the header says.
        error: what is raised.

    Raises:
        InputError: of that type.
    """
    if math.prod(shape) > MAX_PIXELS:
        raise error(
            f"{path}: expected at most {MAX_PIXELS // 1_000_000} million pixels, got "
            f"{' x '.join(map(str, shape))}; cut it into pieces or make it smaller"
        )


def decode(path: Path) -> Image.Image:
    """Decode a file completely and turn it upright; every failure becomes one clear line."""
    regular_file(path, "an image file", ImageError)
    try:
        if path.stat().st_size == 0:
            raise ImageError(
                f"{path}: expected an image, got an empty file (0 bytes); copy it again"
            )
        with warnings.catch_warnings():
            # Pillow warns of large or odd files, then reads or refuses them: one line is enough.
            warnings.simplefilter("ignore")
            # A file, not a path: Pillow maps files that it opens itself into memory, and then
            # scrambles uncompressed TIFF that is to be turned (seen in Pillow 13.0).
            with path.open("rb") as file, Image.open(file, formats=PILLOW_FORMATS) as picture:
                check_pixels(path, picture.size, ImageError)
                picture.load()
                if picture.getexif().get(_ORIENTATION, 1) == 1:
                    return picture  # Pillow would copy it, and it may be large
                upright = ImageOps.exif_transpose(picture)
                upright.format = picture.format
                return upright
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path}: expected at most {MAX_PIXELS // 1_000_000} million pixels, got more than "
            "Pillow opens; cut it into pieces or make it smaller"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path}: expected an image ({', '.join(s[1:] for s in IMAGE_SUFFIXES)}), got a file "
            "of another or a damaged format; remove it or save it anew"
        ) from error
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged bytes (OSError, SyntaxError,
        # ValueError, MemoryError, struct.error, zlib.error, IndexError, ...).
        raise ImageError(
            f"{path}: expected a whole image, got a truncated or damaged file ({reason(error)}); "
            "copy it again"
        ) from error


def _sixteen_bit(path: Path, picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Grey values of a 16-bit image as 8 bits; ``(H, W)``."""
    values = np.asarray(picture)
    # Pillow opens some 16-bit files with 32-bit integers; values beyond 16 bits betray the others.
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        kind = "float" if values.dtype.kind == "f" else "32-bit integer"
        raise ImageError(
            f"{path}: expected 8 or 16 bits a value, got {kind} values, which have no fixed "
            "brightness range; save it with 8 or 16 bits"
        )
    # 257 = 65535 / 255; rounded to the nearest.
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
