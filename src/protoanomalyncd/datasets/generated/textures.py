"""Products without a background: a material fills the whole frame."""

from __future__ import annotations

import cv2
import numpy as np

from protoanomalyncd.datasets.generated.fields import Field, grid, mix, ramp, shaded, smooth_noise
from protoanomalyncd.datasets.generated.scene import Scene, lamp

__all__ = ["brushed_metal", "fabric", "leather", "wood"]


def _texture(
    rng: np.random.Generator,
    colour: Field,
    behind: tuple[float, float, float],
    inside: tuple[float, float, float],
    light: tuple[float, float],
) -> Scene:
    size = colour.shape[0]
    dark = np.empty((size, size, 3), np.float32)
    dark[:] = np.asarray(behind, np.float32) * np.float32(rng.uniform(0.8, 1.2))
    full = np.ones((size, size), np.float32)
    return Scene(np.clip(colour, 0, 1).astype(np.float32), full, dark, light, inside)


def brushed_metal(rng: np.random.Generator, size: int) -> Scene:
    """Ground stainless steel: fine streaks along one direction and a broad reflex."""
    x, y = grid(size)
    streaks = (
        0.9 * smooth_noise(rng, size, (150, 5))
        + 0.6 * smooth_noise(rng, size, (80, 2))
        + 0.7 * smooth_noise(rng, size, (256, 14))
    )
    angle = rng.normal(0, 1.2)
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), float(angle), 1.04)
    streaks = cv2.warpAffine(streaks, turn, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    at = rng.normal(0.42, 0.07)
    reflex = np.exp(-(((y - at + 0.08 * (x - 0.5)) / 0.3) ** 2))
    grey = 0.5 + 0.2 * reflex + 0.036 * streaks * (0.7 + 0.5 * reflex)
    grey = grey + 0.012 * smooth_noise(rng, size, 4)
    colour = grey[..., None] * np.array([0.97, 0.995, 1.03], np.float32)
    return _texture(rng, colour, (0.05, 0.05, 0.06), (0.86, 0.87, 0.88), lamp(rng))


def fabric(rng: np.random.Generator, size: int) -> Scene:
    """Plain weave of two yarns, with slubs and slightly wavy threads."""
    x, y = grid(size)
    threads = 32
    phase = rng.uniform(0, 2, 2)
    angle = np.float32(rng.normal(0, 0.015))
    u = (x + angle * y) * threads + phase[0] + 0.13 * smooth_noise(rng, size, 5, 2)
    v = (y - angle * x) * threads + phase[1] + 0.13 * smooth_noise(rng, size, 5, 2)
    i, j = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    fu, fv = u - i - 0.5, v - j - 0.5
    over = (i + j) % 2 == 0
    along = np.where(over, fv, fu)
    across = np.where(over, fu, fv)
    # Each yarn arches over the crossing one, and is round across.
    round_ = np.sqrt(np.clip(1 - (across / 0.56) ** 2, 0, 1))
    arch = np.cos(along * 1.9)
    yarn = rng.normal(0, 1, (2, threads + 8)).astype(np.float32)
    tone = np.where(over, yarn[0][i % (threads + 8)], yarn[1][j % (threads + 8)])
    twist = np.sin((across * 2.2 + along * 2.6 + 0.15 * tone) * 2 * np.pi)
    fuzz = smooth_noise(rng, size, 110)
    value = (0.28 + 0.72 * round_ * arch) * (1 + 0.045 * tone + 0.06 * twist + 0.07 * fuzz)
    warp, weft = np.array([0.42, 0.5, 0.63], np.float32), np.array([0.57, 0.64, 0.74], np.float32)
    colour = mix(warp, weft, over.astype(np.float32)) * value[..., None].astype(np.float32)
    colour = colour * (1 + 0.03 * smooth_noise(rng, size, 3))[..., None]
    return _texture(rng, colour, (0.06, 0.06, 0.07), (0.72, 0.74, 0.78), lamp(rng))


def wood(rng: np.random.Generator, size: int) -> Scene:
    """Planed oak: year rings cut lengthwise, fibres and pores."""
    x, y = grid(size)
    wave = 0.022 * smooth_noise(rng, size, (3, 2), 2) + 0.006 * smooth_noise(rng, size, (12, 3))
    off = rng.uniform(-0.4, 0.4)
    across = y - 0.5 + wave + 0.05 * (x - 0.5)
    depth = np.hypot(across - off, 0.16 + 0.1 * (x - rng.uniform(0, 1)))
    rings = depth * rng.uniform(24, 30) + rng.uniform(0, 1)
    phase = rings - np.floor(rings)
    # Early wood is light; late wood darkens slowly and ends sharply.
    late = phase**2.2 * np.clip((1 - phase) * 9, 0, 1)
    fibres = 0.6 * smooth_noise(rng, size, (140, 5)) + 0.5 * smooth_noise(rng, size, (220, 12))
    pores = np.clip(smooth_noise(rng, size, (170, 9)) - 1.5, 0, 1)
    value = 0.28 + 0.5 * late + 0.055 * fibres + 0.5 * pores * (0.4 + late)
    value = value + 0.05 * smooth_noise(rng, size, (5, 2))
    stops = [(0.87, 0.7, 0.5), (0.77, 0.57, 0.36), (0.6, 0.4, 0.23), (0.38, 0.23, 0.12)]
    colour = ramp(np.clip(value, 0, 1).astype(np.float32), stops)
    return _texture(rng, colour, (0.1, 0.06, 0.03), (0.9, 0.78, 0.6), lamp(rng))


def leather(rng: np.random.Generator, size: int) -> Scene:
    """Embossed leather: pebbles of irregular size, separated by soft grooves."""
    side = max(size, 192)
    cells = 30
    step = side / cells
    centres = (
        np.mgrid[0:cells, 0:cells].reshape(2, -1).T + rng.uniform(0, 1, (cells**2, 2))
    ) * step
    points = np.full((side, side), 255, np.uint8)
    place = np.clip(centres.astype(np.int32), 0, side - 1)
    points[place[:, 0], place[:, 1]] = 0
    _, labels = cv2.distanceTransformWithLabels(
        points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    groove = np.ones((side, side), np.uint8)
    groove[:, 1:] &= (labels[:, 1:] == labels[:, :-1]).astype(np.uint8)
    groove[1:] &= (labels[1:] == labels[:-1]).astype(np.uint8)
    rise = cv2.distanceTransform(groove, cv2.DIST_L2, 5) / step
    height = 1 - np.exp(-((rise / 0.2) ** 1.4))
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), 0.07 * step)
    tone = rng.normal(0, 1, labels.max() + 1).astype(np.float32)[labels]
    height = cv2.resize(height, (size, size), interpolation=cv2.INTER_AREA)
    tone = cv2.resize(tone, (size, size), interpolation=cv2.INTER_AREA)
    light = lamp(rng)
    height = height + 0.05 * smooth_noise(rng, size, 90)
    relief = shaded(height * 0.006, light, 0.3)
    value = 0.34 + 0.3 * height + np.clip(relief, -0.22, 0.3) + 0.012 * tone
    value = value * (1 + 0.04 * smooth_noise(rng, size, 3, 2))
    stops = [(0.1, 0.05, 0.03), (0.36, 0.19, 0.11), (0.56, 0.33, 0.2), (0.82, 0.6, 0.44)]
    colour = ramp(np.clip(value, 0, 1).astype(np.float32), stops)
    return _texture(rng, colour, (0.05, 0.03, 0.02), (0.78, 0.62, 0.46), light)
