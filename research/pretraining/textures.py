"""Generated industrial textures, generated defects and random guidance masks.

Everything here is drawn from a seeded ``numpy`` generator; no image is read.
Images are uint8 RGB (H, W, 3), masks float32 (H, W) in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.float32]


def _noise(rng: np.random.Generator, size: int, cells: tuple[float, float]) -> Mask:
    """Smooth noise of unit deviation with features of about ``cells`` (x, y) pixels."""
    width = max(2, int(size / cells[0]))
    height = max(2, int(size / cells[1]))
    field = rng.standard_normal((height, width)).astype(np.float32)
    out = cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray((out - out.mean()) / (out.std() + 1e-6), dtype=np.float32)


def _waves(rng: np.random.Generator, size: int) -> Mask:
    """One or two sinusoidal gratings: weave, grid or stripes."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    out = np.zeros((size, size), np.float32)
    angle = rng.uniform(0, np.pi)
    for k in range(int(rng.integers(1, 3))):
        turn = angle + k * np.pi / 2
        phase = (x * np.cos(turn) + y * np.sin(turn)) * 2 * np.pi / rng.uniform(4, 40)
        wave = np.sin(phase + 0.5 * _noise(rng, size, (60, 60)))
        out += np.sign(wave) * np.abs(wave) ** rng.uniform(0.2, 2)
    return out


def texture(rng: np.random.Generator, size: int = 256) -> Image:
    """One texture: grain, brushed metal, clouds, weave or a mixture."""
    kind = int(rng.integers(5))
    field: Mask = 0.3 * _noise(rng, size, (1, 1)) * rng.uniform(0, 1)
    if kind == 0:
        field += _noise(rng, size, (rng.uniform(1, 6), rng.uniform(1, 6)))
    elif kind == 1:
        field += _noise(rng, size, (rng.uniform(30, 200), rng.uniform(1, 2.5)))
    elif kind == 2:
        for octave in range(5):
            field += _noise(rng, size, (64 / 2**octave,) * 2) / rng.uniform(1.2, 2) ** octave
    elif kind == 3:
        field += _waves(rng, size)
    else:
        field += 0.7 * _waves(rng, size) + _noise(
            rng, size, (rng.uniform(2, 40), rng.uniform(2, 40))
        )
    if rng.random() < 0.5:
        field = np.asarray(cv2.rotate(field, cv2.ROTATE_90_CLOCKWISE), np.float32)
    base = rng.uniform(50, 200) * (np.ones(3) if rng.random() < 0.7 else rng.uniform(0.6, 1.2, 3))
    tint = rng.uniform(5, 35) * (np.ones(3) if rng.random() < 0.8 else rng.uniform(0.3, 1.2, 3))
    light = 15 * _noise(rng, size, (150, 150)) * rng.random()
    return np.clip(base + field[..., None] * tint + light[..., None], 0, 255).astype(np.uint8)


def _stroke(rng: np.random.Generator, size: int, wobble: float) -> Mask:
    """A polyline: nearly straight (scratch) or wandering (crack)."""
    mask = np.zeros((size, size), np.uint8)
    point = rng.uniform(0, size, 2)
    angle = rng.uniform(0, 2 * np.pi)
    thickness = int(rng.choice([1, 1, 2, 2, 3, 5]))
    for _ in range(int(rng.integers(3, 16))):
        angle += rng.normal(0, wobble)
        nxt = point + size * rng.uniform(0.03, 0.12) * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(
            mask,
            tuple(point.astype(int).tolist()),
            tuple(nxt.astype(int).tolist()),
            255,
            thickness,
            cv2.LINE_AA,
        )
        point = nxt
    return np.asarray(mask.astype(np.float32) / 255, np.float32)


def _ellipse(rng: np.random.Generator, size: int) -> Mask:
    mask = np.zeros((size, size), np.uint8)
    axes = (np.exp(rng.uniform(np.log(0.01), np.log(0.35), 2)) * size + 1).astype(int)
    centre = rng.integers(0, size, 2)
    cv2.ellipse(
        mask, centre.tolist(), axes.tolist(), rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA
    )
    return np.asarray(mask.astype(np.float32) / 255, np.float32)


def _blob(rng: np.random.Generator, size: int) -> Mask:
    cell = rng.uniform(0.1, 0.5) * size
    field = _noise(rng, size, (cell, cell))
    level = float(np.quantile(field, rng.uniform(0.5, 0.97)))
    return (field > level).astype(np.float32)


def _box(rng: np.random.Generator, size: int) -> Mask:
    mask = np.zeros((size, size), np.float32)
    x, y = rng.integers(0, size, 2)
    w, h = (np.exp(rng.uniform(np.log(0.03), np.log(0.5), 2)) * size + 1).astype(int)
    mask[y : y + h, x : x + w] = 1
    return mask


def region(rng: np.random.Generator, size: int) -> Mask:
    """A random region: scratch, crack, ellipse, box or noise blob, hard or soft."""
    kind = rng.random()
    if kind < 0.2:
        mask = _stroke(rng, size, 0.1)
    elif kind < 0.4:
        mask = _stroke(rng, size, 0.7)
    elif kind < 0.7:
        mask = _ellipse(rng, size)
    elif kind < 0.8:
        mask = _box(rng, size)
    else:
        mask = _blob(rng, size)
    if rng.random() < 0.5:
        blurred = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 0.03 * size)))
        mask = np.asarray(blurred, np.float32)
    peak = float(mask.max())
    return mask / peak if peak > 1e-3 else _ellipse(rng, size)


def add_defect(rng: np.random.Generator, image: Image, other: Image) -> tuple[Image, Mask]:
    """Paint one defect into a square image: (image, mask).

    Kinds: darker or brighter, blurred, noisy, a patch of another image, a shifted
    piece of the same image, a dent (one side bright, one side dark).
    """
    size = image.shape[0]
    mask = region(rng, size)
    if mask.mean() > 0.35:
        mask = mask * (region(rng, size) > 0.5)
    pixels = image.astype(np.float32)
    kind = int(rng.integers(6))
    if kind <= 1:
        shift = rng.uniform(25, 110) * rng.choice([-1, -1, 1])
        change = pixels + shift * (np.ones(3) if rng.random() < 0.8 else rng.uniform(0, 1, 3))
    elif kind == 2:
        change = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(2, 8))) + rng.uniform(-40, 40)
    elif kind == 3:
        cell = float(rng.uniform(1, 5))
        change = pixels + rng.uniform(15, 60) * _noise(rng, size, (cell, cell))[..., None]
    elif kind == 4:
        source = other if rng.random() < 0.6 else image
        change = np.roll(source, tuple(rng.integers(size // 8, size, 2)), (0, 1)).astype(np.float32)
    else:
        soft = cv2.GaussianBlur(mask, (0, 0), 2.0)
        slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) + cv2.Sobel(soft, cv2.CV_32F, 0, 1)
        change = pixels + rng.uniform(60, 300) * slope[..., None]
        out = np.clip(change, 0, 255).astype(np.uint8)
        return out, mask
    out = np.clip(pixels + mask[..., None] * (change - pixels), 0, 255).astype(np.uint8)
    return out, mask


def region_bank(rng: np.random.Generator, count: int, size: int = 64) -> Mask:
    """``count`` random regions of 2 to 60 % of the area: (count, size, size)."""
    bank: list[Mask] = []
    while len(bank) < count:
        mask = region(rng, size)
        if rng.random() < 0.3:
            mask = np.maximum(mask, region(rng, size))
        if 0.02 <= mask.mean() <= 0.6:
            bank.append(mask.astype(np.float32))
    return np.stack(bank)
