"""Augmented views: image, masks and float map are transformed together.

Source: AnomalyNCD for the list (crop, flips, quarter turns, colour jitter, sharpness, blur,
posterise), ours for transforming the float map too and for seeds that derive from a crop's
content, so that a view is the same whatever the order or the number of crops. How strongly colours
change is ours by default, and AnomalyNCD's as ``recolouring="reference"``.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import cv2
import numpy as np

from protoanomalyncd.core.records import FloatArray, ImageArray
from protoanomalyncd.vit.amg_vit import centre_window, guide_values

__all__ = ["augmented_view", "plain_view", "view_generator"]


def view_generator(key: str, view: int, seed: int) -> np.random.Generator:
    """Random generator of one view of one crop."""
    digest = hashlib.sha256(f"{seed}/{view}/{key}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest[:16], np.uint32))


def plain_view(
    image: ImageArray,
    mask: np.ndarray,
    amap: FloatArray,
    side: int,
    mask_only: bool = False,
    on_object: np.ndarray | None = None,
) -> tuple[ImageArray, FloatArray]:
    """The central window, not augmented: what prediction sees.

    Args:
        image: (S, S, 3).
        mask: (S, S).
        amap: (S, S), in [0, 1].
        side: of the window [px], at most S.
        mask_only: the mask alone guides (`GuidanceConfig.mask_only`).
        on_object: object mask (S, S); None = everything is object.

    Returns:
        Window (side, side, 3) and guide values (side, side) or (side, side, 2): `guide_values`.
    """
    window = centre_window(image, side)
    values = centre_window(guide_values(mask, amap, on_object, mask_only), side)
    return np.ascontiguousarray(window).astype(np.uint8), np.ascontiguousarray(values).astype(
        np.float32
    )


def augmented_view(
    image: ImageArray,
    mask: np.ndarray,
    amap: FloatArray,
    side: int,
    rng: np.random.Generator,
    *,
    mask_only: bool = False,
    on_object: np.ndarray | None = None,
    recolouring: Literal["default", "reference"] = "default",
) -> tuple[ImageArray, FloatArray]:
    """A random window, turned, flipped and recoloured.

    Args:
        image: (S, S, 3).
        mask: (S, S).
        amap: (S, S), in [0, 1].
        side: of the window [px], at most S.
        rng: see `view_generator`.
        mask_only: the mask alone guides (`GuidanceConfig.mask_only`).
        on_object: object mask (S, S); None = everything is object.
        recolouring: ``default`` or ``reference``; turns, flips and windows are the same.

    Returns:
        Window (side, side, 3) and guide values (side, side) or (side, side, 2): `guide_values`.
    """
    room = image.shape[0] - side
    top, left = (int(v) for v in rng.integers(0, room + 1, 2))
    turns, flip = int(rng.integers(0, 4)), bool(rng.integers(0, 2))
    window = image[top : top + side, left : left + side]
    values = guide_values(mask, amap, on_object, mask_only)[top : top + side, left : left + side]
    window, values = np.rot90(window, turns), np.rot90(values, turns)
    if flip:
        window, values = window[:, ::-1], values[:, ::-1]
    recolour = _recolour if recolouring == "default" else _recolour_as_reference
    return recolour(np.ascontiguousarray(window), rng), np.ascontiguousarray(values).astype(
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


def _recolour_as_reference(image: ImageArray, rng: np.random.Generator) -> ImageArray:
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
