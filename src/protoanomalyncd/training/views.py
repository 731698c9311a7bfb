"""Augmented views: image, mask and float map are transformed together.

Source: AnomalyNCD for the list (crop, flips, quarter turns, colour jitter, sharpness, blur,
posterise), ours for transforming the float map too and for seeds that derive from a crop's
content, so that a view is the same whatever the order or the number of crops.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from protoanomalyncd.structures import FloatArray, ImageArray
from protoanomalyncd.vit.amg_vit import anomaly_values, centre_window

__all__ = ["augmented_view", "plain_view", "view_generator"]


def view_generator(key: str, view: int, seed: int) -> np.random.Generator:
    """Random generator of one view of one crop."""
    digest = hashlib.sha256(f"{seed}/{view}/{key}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest[:16], np.uint32))


def plain_view(
    image: ImageArray, mask: np.ndarray, amap: FloatArray, side: int
) -> tuple[ImageArray, FloatArray]:
    """The central window, not augmented: what prediction sees.

    Args:
        image: (S, S, 3).
        mask: (S, S).
        amap: (S, S), in [0, 1].
        side: of the window [px], at most S.

    Returns:
        Window (side, side, 3) and anomaly values (side, side).
    """
    window = centre_window(image, side)
    values = centre_window(anomaly_values(mask, amap), side)
    return np.ascontiguousarray(window).astype(np.uint8), np.ascontiguousarray(values).astype(
        np.float32
    )


def augmented_view(
    image: ImageArray, mask: np.ndarray, amap: FloatArray, side: int, rng: np.random.Generator
) -> tuple[ImageArray, FloatArray]:
    """A random window, turned, flipped and recoloured.

    Args:
        image: (S, S, 3).
        mask: (S, S).
        amap: (S, S), in [0, 1].
        side: of the window [px], at most S.
        rng: see `view_generator`.

    Returns:
        Window (side, side, 3) and anomaly values (side, side).
    """
    room = image.shape[0] - side
    top, left = (int(v) for v in rng.integers(0, room + 1, 2))
    turns, flip = int(rng.integers(0, 4)), bool(rng.integers(0, 2))
    window = image[top : top + side, left : left + side]
    values = anomaly_values(mask, amap)[top : top + side, left : left + side]
    window, values = np.rot90(window, turns), np.rot90(values, turns)
    if flip:
        window, values = window[:, ::-1], values[:, ::-1]
    return _recolour(np.ascontiguousarray(window), rng), np.ascontiguousarray(values).astype(
        np.float32
    )


def _recolour(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Brightness, contrast, saturation; then sharpen, blur or posterise at times."""
    x = image.astype(np.float32)
    contrast, brightness, saturation = rng.uniform(0.8, 1.2, 3)
    mean = x.mean()
    x = ((x - mean) * contrast + mean) * brightness
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * saturation
    choice = rng.uniform()
    if choice < 0.2:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.5, 1.2)))
    elif choice < 0.4:
        x = x + float(rng.uniform(0.3, 1.0)) * (x - cv2.GaussianBlur(x, (0, 0), 1.0))
    elif choice < 0.5:
        x = np.floor(x / 16) * 16 + 8
    recoloured: ImageArray = np.clip(x, 0, 255).astype(np.uint8)
    return recoloured
