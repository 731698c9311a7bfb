"""Products with an outline, lying on a background."""

from __future__ import annotations

import cv2
import numpy as np

from protoanomalyncd.core.records import FloatArray
from protoanomalyncd.datasets.generated.board import printed_board
from protoanomalyncd.datasets.generated.fields import (
    blurred,
    coverage,
    grid,
    mix,
    rounded_box,
    shaded,
    shifted,
    smooth_noise,
)
from protoanomalyncd.datasets.generated.scene import Scene, lamp

__all__ = ["gear", "pcb", "tablet", "tile", "washer"]

Colour = tuple[float, float, float]


def _lay(
    on: FloatArray,
    colour: FloatArray,
    cover: FloatArray,
    light: tuple[float, float],
    inside: Colour,
    *,
    shadow: float = 0.02,
) -> Scene:
    """Put a product on its background, with the shadow that it casts."""
    cast = shifted(cover, light, shadow)
    cast = blurred(cast, max(0.6 * shadow * on.shape[0], 0.5))
    ground = on * (1 - 0.55 * cast)[..., None]
    picture = mix(ground, np.clip(colour, 0, 1), cover)
    behind = on * (1 - 0.3 * cast)[..., None]
    return Scene(np.clip(picture, 0, 1), cover, np.clip(behind, 0, 1), light, inside)


def _belt(rng: np.random.Generator, size: int) -> FloatArray:
    """A dark rubber conveyor belt with a fine rhombic grip."""
    x, y = grid(size)
    phase = rng.uniform(0, 2 * np.pi, 2)
    grip = np.sin(150 * (x + y) + phase[0]) * np.sin(150 * (x - y) + phase[1])
    grey = 0.14 + 0.022 * grip + 0.012 * smooth_noise(rng, size, 90)
    grey = grey + 0.015 * smooth_noise(rng, size, 4, 2)
    return np.asarray(grey[..., None] * np.array([0.95, 1.0, 1.06], np.float32), np.float32)


def _polar(rng: np.random.Generator, size: int) -> tuple[FloatArray, FloatArray]:
    """Radius and angle about a centre that is never quite the same."""
    x, y = grid(size)
    shift = rng.normal(0, 0.008, 2).astype(np.float32)
    radius, angle = cv2.cartToPolar(x - 0.5 - shift[0], y - 0.5 - shift[1])
    return np.asarray(radius, np.float32), np.asarray(angle, np.float32)


def _turned(
    rng: np.random.Generator, radius: FloatArray, angle: FloatArray, light: tuple[float, float]
) -> FloatArray:
    """Grey value of metal turned on a lathe: circular grooves and the reflex across them."""
    size = radius.shape[0]
    coarse = np.convolve(rng.standard_normal(400), np.ones(5) / 2.2, "same")
    groove = (rng.standard_normal(400) + 0.8 * coarse).astype(np.float32)
    at = radius * 560
    index = np.minimum(at.astype(np.int32), 398)
    part = at - index
    lines = groove[index] * (1 - part) + groove[index + 1] * part
    towards = angle - np.float32(np.arctan2(light[1], light[0]))
    # Grooves reflect along the two radii that point at the lamp.
    narrow, wide = np.square(np.cos(towards)), np.square(np.cos(towards * 2 + np.float32(0.9)))
    fan = np.square(np.square(narrow)) + 0.35 * wide * wide * wide
    grey = 0.5 + 0.24 * fan + (0.022 + 0.02 * fan) * lines + 0.015 * smooth_noise(rng, size, 5)
    return np.asarray(grey, np.float32)


def washer(rng: np.random.Generator, size: int) -> Scene:
    """A turned steel ring on a conveyor belt."""
    light = lamp(rng)
    radius, angle = _polar(rng, size)
    outer, inner = rng.normal(0.4, 0.003), rng.normal(0.17, 0.002)
    middle, half = (outer + inner) / 2, (outer - inner) / 2
    distance = np.abs(radius - middle) - half
    cover = coverage(distance, size)
    grey = _turned(rng, radius, angle, light)
    bevel = np.clip(1 + distance / 0.016, 0, 1) * np.sign(radius - middle)
    facing = np.cos(angle - np.arctan2(light[1], light[0]))
    grey = grey + bevel * facing * 0.3 - 0.06 * np.abs(bevel)
    colour = grey[..., None].astype(np.float32) * np.array([1.02, 1.0, 0.97], np.float32)
    return _lay(_belt(rng, size), colour, cover, light, (0.62, 0.61, 0.6))


def gear(rng: np.random.Generator, size: int) -> Scene:
    """A brass gear wheel with a bore and six holes, on light grey paper."""
    light = lamp(rng)
    radius, angle = _polar(rng, size)
    turn = rng.uniform(0, 2 * np.pi)
    teeth, wave = 22, angle - np.float32(turn)
    tooth = np.clip(np.sin(wave * teeth) * 1.6, -1, 1)
    rim = radius - (0.4 + 0.026 * tooth)
    bore = 0.085 - radius
    around = (wave % (np.pi / 3)) - np.pi / 6
    hole_x, hole_y = radius * np.cos(around) - 0.215, radius * np.sin(around)
    holes = 0.052 - np.hypot(hole_x, hole_y)
    distance = np.maximum(np.maximum(rim, bore), holes).astype(np.float32)
    cover = coverage(distance, size)
    height = np.clip(-distance / 0.014, 0, 1) * 0.011
    step = np.clip((radius - 0.325) / 0.008, 0, 1) - np.clip((radius - 0.135) / 0.008, 0, 1)
    height = height + 0.006 * step
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), 0.004 * size)
    grey = _turned(rng, radius, angle, light) * 1.05 + np.clip(
        shaded(height, light, 0.55), -0.35, 0.35
    )
    colour = grey[..., None].astype(np.float32) * np.array([1.18, 0.98, 0.6], np.float32)
    paper = 0.74 + 0.01 * smooth_noise(rng, size, 120) + 0.012 * smooth_noise(rng, size, 4)
    ground = paper[..., None] * np.array([0.98, 1.0, 1.02], np.float32)
    return _lay(ground, colour, cover, light, (0.8, 0.68, 0.4), shadow=0.016)


def tablet(rng: np.random.Generator, size: int) -> Scene:
    """A pressed, coated tablet with a score line, on a blue tray."""
    light = lamp(rng)
    x, y = grid(size)
    shift, turn = rng.normal(0, 0.012, 2), rng.normal(0.35, 0.06)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    dx, dy = x - np.float32(0.5 + shift[0]), y - np.float32(0.5 + shift[1])
    u, v = c * dx + s * dy, c * dy - s * dx
    distance = rounded_box(u, v, (0.4, 0.235), 0.23)
    cover = coverage(distance, size)
    # A dome with a flat belly and a steep rim.
    dome = 0.075 * np.sqrt(np.clip(1 - np.clip(1 + distance / 0.1, 0, 1) ** 2, 0, 1))
    score = np.exp(-((u / 0.011) ** 2)) * np.clip(-distance / 0.03, 0, 1)
    height = dome - 0.012 * score + 0.0007 * smooth_noise(rng, size, 60, 2)
    relief = np.clip(shaded(height.astype(np.float32), light, 0.2), -0.3, 0.16)
    grey = 0.8 + relief - 0.06 * score + 0.008 * smooth_noise(rng, size, 120)
    gloss = np.exp(
        -(((u * 1.0 - light[0] * 0.2) / 0.16) ** 2) - ((v - light[1] * 0.09) / 0.05) ** 2
    )
    colour = grey[..., None].astype(np.float32) * np.array([1.04, 0.93, 0.85], np.float32)
    colour = colour + 0.07 * gloss[..., None]
    weave = np.sin(x * 240 + rng.uniform(0, 6)) * np.sin(y * 240 + rng.uniform(0, 6))
    tray = 1 + 0.05 * weave + 0.03 * smooth_noise(rng, size, 5, 2)
    ground = tray[..., None] * np.array([0.2, 0.33, 0.47], np.float32)
    return _lay(ground.astype(np.float32), colour, cover, light, (0.97, 0.95, 0.92), shadow=0.035)


def tile(rng: np.random.Generator, size: int) -> Scene:
    """A glazed ceramic tile with speckles, set in grout."""
    light = lamp(rng)
    x, y = grid(size)
    shift = rng.normal(0, 0.005, 2)
    turn = np.float32(rng.normal(0, 0.006))
    dx, dy = x - np.float32(0.5 + shift[0]), y - np.float32(0.5 + shift[1])
    distance = rounded_box(dx + turn * dy, dy - turn * dx, (0.43, 0.43), 0.03)
    cover = coverage(distance, size)
    fine = np.clip((smooth_noise(rng, size, 75) - 1.35) * 2.5, 0, 1)
    coarse = np.clip((smooth_noise(rng, size, 30) - 1.75) * 3, 0, 1)
    rust = np.clip((smooth_noise(rng, size, 48) - 1.7) * 3, 0, 1)
    cloud = smooth_noise(rng, size, 5, 3)
    base = np.array([0.83, 0.82, 0.78], np.float32) * (1 + 0.02 * cloud)[..., None]
    colour = mix(base, np.array([0.5, 0.5, 0.5], np.float32), 0.75 * fine)
    colour = mix(colour, np.array([0.3, 0.31, 0.34], np.float32), 0.8 * coarse)
    colour = mix(colour, np.array([0.62, 0.47, 0.34], np.float32), 0.75 * rust)
    edge = np.clip(1 + distance / 0.035, 0, 1)
    height = (-0.016 * edge**2).astype(np.float32)
    colour = colour + np.clip(shaded(height, light, 0.16), -0.2, 0.12)[..., None]
    at = rng.normal(0.35, 0.04, 2)
    gloss = np.exp(-((((x - at[0]) * 0.8 + (y - at[1]) * 0.6) / 0.16) ** 2))
    colour = colour + 0.06 * gloss[..., None]
    sand = 0.5 + 0.035 * smooth_noise(rng, size, 128) + 0.03 * smooth_noise(rng, size, 50, 2)
    ground = sand[..., None] * np.array([1.0, 0.97, 0.92], np.float32)
    return _lay(ground.astype(np.float32), colour, cover, light, (0.86, 0.66, 0.5), shadow=0.012)


def pcb(rng: np.random.Generator, size: int) -> Scene:
    """A populated circuit board on an anti-static mat; every board has the same layout."""
    light = lamp(rng)
    colour, cover = printed_board(size)
    shift, turn = rng.normal(0, 0.006, 2) * size, float(rng.normal(0, 0.45))
    move = cv2.getRotationMatrix2D((size / 2, size / 2), turn, 1.0)
    move = np.asarray(move) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    # The board was drawn on solder mask up to the frame: its border stays clean when it moves.
    moved = cv2.warpAffine(colour, move, (size, size), borderMode=cv2.BORDER_REPLICATE)
    cover = np.asarray(cv2.warpAffine(cover, move, (size, size)), np.float32)
    weave = 0.05 * smooth_noise(rng, size, 128) + 0.07 * smooth_noise(rng, size, 4)
    mat = 0.55 + 0.012 * smooth_noise(rng, size, 100) + 0.02 * smooth_noise(rng, size, 3)
    ground = mat[..., None] * np.array([0.93, 0.98, 1.05], np.float32)
    colour = np.asarray(moved * (1 + weave)[..., None], np.float32)
    return _lay(ground.astype(np.float32), colour, cover, light, (0.66, 0.6, 0.4), shadow=0.014)
