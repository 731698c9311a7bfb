"""Arrays -> small data URIs of bounded size, and masks -> outlines."""

from __future__ import annotations

import base64
import io
import math

import cv2
import numpy as np
from PIL import Image

from protoanomalyncd.core.records import Box, FloatArray, ImageArray, MaskArray

__all__ = ["heat_uri", "jpeg_uri", "outline_path"]

_QUALITIES = (82, 72, 60, 46)
_HEAT_SIDES = (112, 80, 56)
_HEAT_BYTES = 2_500
_HEAT_LEVELS = 16
_HEAT_FLOOR = 0.2
_OUTLINE_SIDE = 512
_MAX_CONTOURS = 24
_MAX_CONTOUR_POINTS = 80


def jpeg_uri(image: ImageArray, box: Box, side: int, max_bytes: int) -> str:
    """Cut `box` out, shrink it to at most `side` pixels and at most `max_bytes`, never enlarge.

    Args:
        image: RGB, ``uint8 (H, W, 3)``.
        box: part to show [px], inside the image.
        side: longer side of the picture [px].
        max_bytes: bound of the JPEG file; below about 600 it is not reached.
    """
    x0, y0, x1, y1 = box
    part = np.ascontiguousarray(image[y0:y1, x0:x1])
    while True:
        part = _shrink(part, side)
        for quality in _QUALITIES:
            data = _encode(part, quality)
            if len(data) <= max_bytes:
                return _uri("jpeg", data)
        side = min(side, max(part.shape[:2])) * 3 // 4
        if side < 16:
            return _uri("jpeg", data)


def heat_uri(scores: FloatArray) -> str:
    """An anomaly map as a transparent PNG: clear where normal, glowing where anomalous.

    Args:
        scores: normalised map in [0, 1], ``(h, w)``; not finite counts as 0.
    """
    small = np.nan_to_num(np.asarray(scores, np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    for side in _HEAT_SIDES:
        data = _heat(_shrink(small, side))
        if len(data) <= _HEAT_BYTES:
            break
    return _uri("png", data)


def outline_path(mask: MaskArray, width: int, height: int) -> str:
    """Contours of a mask as the data of an SVG path, in pixels of the original image.

    Args:
        mask: ``bool (h, w)``, any resolution.
        width: of the original image [px].
        height: of the original image [px].
    """
    scale = _OUTLINE_SIDE / max(mask.shape)
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    smooth = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    pixels = (smooth >= 0.5).astype(np.uint8)
    found, _ = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contours = sorted(found, key=len, reverse=True)[:_MAX_CONTOURS]
    scale_x, scale_y = width / size[0], height / size[1]
    tolerance = min(2.0, max(0.8, 0.75 * scale))  # the steps of a coarse mask are not seen
    digits = max(0, 2 - int(math.log10(max(width, height, 1))))
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, tolerance, closed=True).reshape(-1, 2)
        step = -(-len(points) // _MAX_CONTOUR_POINTS)
        pairs = (
            f"{(x + 0.5) * scale_x:.{digits}f} {(y + 0.5) * scale_y:.{digits}f}"
            for x, y in points[::step]
        )
        parts.append(f"M{'L'.join(pairs)}Z")
    return "".join(parts)


def _heat(scores: FloatArray) -> bytes:
    strength = np.clip((scores - _HEAT_FLOOR) / (1 - _HEAT_FLOOR), 0, 1)
    levels = np.rint(strength * (_HEAT_LEVELS - 1)).astype(np.uint8)
    picture = Image.fromarray(levels, mode="P")
    ramp = [index / (_HEAT_LEVELS - 1) for index in range(_HEAT_LEVELS)]
    picture.putpalette([part for t in ramp for part in (255, round(60 + 100 * t), 10)])
    buffer = io.BytesIO()
    alpha = bytes(round(120 * t**0.8) for t in ramp)
    picture.save(buffer, "PNG", transparency=alpha, bits=4, optimize=True)
    return buffer.getvalue()


def _shrink(array: np.ndarray, side: int) -> np.ndarray:
    height, width = array.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return array
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_AREA), dtype=array.dtype)


def _encode(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
