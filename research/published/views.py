"""AnomalyNCD's changes of colour in augmented views."""

from __future__ import annotations

import cv2
import numpy as np

from protoanomalyncd.core.records import ImageArray

__all__ = ["reference_recolour"]


def reference_recolour(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Jitter in random order, sharpness, blur, posterise: always all of them.

    Source: [ref] HUST-SLOW/AnomalyNCD, ``datasets/transform.py``, for the ranges. It jitters before
    the quarter turn, we after it, which changes nothing.
    """
    jitter = [_brightness, _contrast, _saturation]
    factors = [rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.8)]
    for step in rng.permutation(3):
        image = _to_bytes(jitter[step](image.astype(np.float32), float(factors[step])))
    x = image.astype(np.float32)
    smooth = cv2.filter2D(x, -1, _SMOOTH, borderType=cv2.BORDER_REPLICATE)
    image = _to_bytes(smooth + float(rng.uniform(0.2, 2.0)) * (x - smooth))
    side, sigma = int(rng.choice((9, 13, 17, 21, 25, 29, 33))), float(rng.uniform(0.1, 2.0))
    image = _to_bytes(cv2.GaussianBlur(image.astype(np.float32), (side, side), sigma))
    bits = int(rng.integers(5, 9))
    posterised: ImageArray = image & np.uint8(256 - (1 << (8 - bits)))
    return posterised


_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def _brightness(x: np.ndarray, factor: float) -> np.ndarray:
    return x * factor


def _contrast(x: np.ndarray, factor: float) -> np.ndarray:
    mean = float((x @ _GREY).mean())
    return mean + (x - mean) * factor


def _saturation(x: np.ndarray, factor: float) -> np.ndarray:
    grey = (x @ _GREY)[..., None]
    return grey + (x - grey) * factor


def _to_bytes(x: np.ndarray) -> ImageArray:
    values: ImageArray = np.clip(x, 0, 255).astype(np.uint8)
    return values
