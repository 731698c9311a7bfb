"""Augmented views: image, masks and float map are transformed together.

Source: AnomalyNCD for the list (crop, flips, quarter turns, colour jitter, sharpness, blur,
posterise), ours for transforming the float map too and for seeds that derive from a crop's
content, so that a view is the same whatever the order or the number of crops. How strongly colours
change is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from protoanomalyncd.core.records import FloatArray, ImageArray
from protoanomalyncd.regions import centre_window

__all__ = ["Recolour", "augmented_view", "plain_view", "view_generator"]

Recolour: TypeAlias = Callable[[ImageArray, np.random.Generator], ImageArray]
"""Changes the colours of a window, uint8 (S, S, 3)."""


def view_generator(key: str, view: int, seed: int) -> np.random.Generator:
    """Random generator of one view of one crop."""
    digest = hashlib.sha256(f"{seed}/{view}/{key}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest[:16], np.uint32))


def plain_view(image: ImageArray, values: FloatArray, side: int) -> tuple[ImageArray, FloatArray]:
    """The central window, not augmented: what prediction sees.

    Args:
        image: (S, S, 3).
        values: what guides, `GuidedEncoder.guide_values`, (S, S) or (S, S, 2).
        side: of the window [px], at most S.

    Returns:
        Windows of both: uint8 (side, side, 3), and float32 (side, side) or (side, side, 2).
    """
    return (
        np.ascontiguousarray(centre_window(image, side)).astype(np.uint8),
        np.ascontiguousarray(centre_window(values, side)).astype(np.float32),
    )


def augmented_view(
    image: ImageArray,
    values: FloatArray,
    side: int,
    rng: np.random.Generator,
    recolour: Recolour | None = None,
) -> tuple[ImageArray, FloatArray]:
    """A random window, turned, flipped and recoloured.

    Args:
        image: (S, S, 3).
        values: what guides, (S, S) or (S, S, 2).
        side: of the window [px], at most S.
        rng: see `view_generator`.
        recolour: changes the window's colours; None = brightness, contrast, saturation, then
            sharpen, blur or posterise at times.

    Returns:
        Windows of both, as `plain_view`.
    """
    room = image.shape[0] - side
    top, left = (int(v) for v in rng.integers(0, room + 1, 2))
    turns, flip = int(rng.integers(0, 4)), bool(rng.integers(0, 2))
    rows, columns = slice(top, top + side), slice(left, left + side)
    window, values = np.rot90(image[rows, columns], turns), np.rot90(values[rows, columns], turns)
    if flip:
        window, values = window[:, ::-1], values[:, ::-1]
    return (recolour or _recolour)(np.ascontiguousarray(window), rng), np.ascontiguousarray(
        values
    ).astype(np.float32)


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
