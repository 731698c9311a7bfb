"""Products with an outline, lying on a background."""

from __future__ import annotations

import cv2
import numpy as np

from protoanomalyncd.datasets.generated.fields import (
    coverage,
    grid,
    mix,
    rounded_box,
    shaded,
    smooth_noise,
)
from protoanomalyncd.datasets.generated.scene import Scene
from protoanomalyncd.structures import FloatArray

__all__ = ["gear", "pcb", "tablet", "tile", "washer"]

Colour = tuple[float, float, float]


def _lamp(rng: np.random.Generator) -> tuple[float, float]:
    angle = rng.normal(-2.2, 0.12)
    return float(np.cos(angle)), float(np.sin(angle))


def _lay(
    on: FloatArray,
    colour: FloatArray,
    cover: FloatArray,
    light: tuple[float, float],
    inside: Colour,
    shadow: float = 0.02,
) -> Scene:
    """Put a product on its background, with the shadow that it casts."""
    size = on.shape[0]
    away = np.array(
        [[1, 0, -light[0] * shadow * size], [0, 1, -light[1] * shadow * size]], np.float32
    )
    cast = cv2.warpAffine(cover, away, (size, size))
    cast = cv2.GaussianBlur(cast, (0, 0), max(0.6 * shadow * size, 0.5))
    ground = on * (1 - 0.55 * cast)[..., None]
    picture = mix(ground, np.clip(colour, 0, 1), cover)
    return Scene(np.clip(picture, 0, 1), cover, np.clip(ground, 0, 1), light, inside)


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
    return radius, angle


def _turned(
    rng: np.random.Generator, radius: FloatArray, angle: FloatArray, light: tuple[float, float]
) -> FloatArray:
    """Grey value of metal turned on a lathe: circular grooves and the reflex across them."""
    size = radius.shape[0]
    groove = rng.standard_normal(400).astype(np.float32)
    groove = groove + 0.8 * np.convolve(rng.standard_normal(400), np.ones(5) / 2.2, "same")
    at = radius * 560
    index = np.minimum(at.astype(np.int32), 398)
    part = at - index
    lines = groove[index] * (1 - part) + groove[index + 1] * part
    towards = angle - np.float32(np.arctan2(light[1], light[0]))
    # Grooves reflect along the two radii that point at the lamp.
    fan = np.cos(towards) ** 8 + 0.35 * np.cos(towards * 2 + 0.9) ** 6
    grey = 0.5 + 0.24 * fan + (0.022 + 0.02 * fan) * lines + 0.015 * smooth_noise(rng, size, 5)
    return np.asarray(grey, np.float32)


def washer(rng: np.random.Generator, size: int) -> Scene:
    """A turned steel ring on a conveyor belt."""
    light = _lamp(rng)
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
    light = _lamp(rng)
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
    return _lay(ground, colour, cover, light, (0.8, 0.68, 0.4), 0.016)


def tablet(rng: np.random.Generator, size: int) -> Scene:
    """A pressed, coated tablet with a score line, on a blue tray."""
    light = _lamp(rng)
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
    gloss = np.exp(-(((u * 1.0 - light[0] * 0.2) / 0.16) ** 2) - ((v - light[1] * 0.09) / 0.05) ** 2)
    colour = grey[..., None].astype(np.float32) * np.array([1.04, 0.93, 0.85], np.float32)
    colour = colour + 0.07 * gloss[..., None]
    weave = np.sin(x * 240 + rng.uniform(0, 6)) * np.sin(y * 240 + rng.uniform(0, 6))
    tray = 1 + 0.05 * weave + 0.03 * smooth_noise(rng, size, 5, 2)
    ground = tray[..., None] * np.array([0.2, 0.33, 0.47], np.float32)
    return _lay(ground.astype(np.float32), colour, cover, light, (0.97, 0.95, 0.92), 0.035)


def tile(rng: np.random.Generator, size: int) -> Scene:
    """A glazed ceramic tile with speckles, set in grout."""
    light = _lamp(rng)
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
    return _lay(ground.astype(np.float32), colour, cover, light, (0.86, 0.66, 0.5), 0.012)


def pcb(rng: np.random.Generator, size: int) -> Scene:
    """A populated circuit board on an anti-static mat; every board has the same layout."""
    light = _lamp(rng)
    x, y = grid(size)
    shift, turn = rng.normal(0, 0.006, 2), np.float32(rng.normal(0, 0.008))
    dx, dy = x - np.float32(0.5 + shift[0]), y - np.float32(0.5 + shift[1])
    u, v = dx + turn * dy, dy - turn * dx
    distance = rounded_box(u, v, (0.44, 0.4), 0.025)
    screws = np.hypot(np.abs(u) - 0.39, np.abs(v) - 0.35)
    distance = np.maximum(distance, 0.022 - screws)
    cover = coverage(distance, size)
    weave = 0.012 * smooth_noise(rng, size, 128) + 0.02 * smooth_noise(rng, size, 4)
    colour = (1 + 4 * weave)[..., None] * np.array([0.06, 0.29, 0.17], np.float32)
    copper = coverage(_traces(u, v), size)
    colour = mix(colour, np.array([0.13, 0.43, 0.26], np.float32), copper)
    ring = coverage(np.abs(screws - 0.03) - 0.007, size)
    colour = mix(colour, np.array([0.82, 0.72, 0.45], np.float32), ring)
    colour = _components(rng, colour, u, v, light)
    mat = 0.55 + 0.012 * smooth_noise(rng, size, 100) + 0.02 * smooth_noise(rng, size, 3)
    ground = mat[..., None] * np.array([0.93, 0.98, 1.05], np.float32)
    return _lay(ground.astype(np.float32), colour, cover, light, (0.66, 0.6, 0.4), 0.014)


def _traces(u: FloatArray, v: FloatArray) -> FloatArray:
    """Signed distance to the copper under the solder mask."""
    layout = np.random.default_rng(20)
    best = np.full(u.shape, 1.0, np.float32)
    for k in range(9):
        # A fan of parallel tracks with a 45 degree bend, from the large chip to the connector.
        at = np.float32(-0.3 + 0.032 * k)
        bend = v - at - np.float32(0.06) - np.clip(u - 0.02 + 0.018 * k, 0, 0.1)
        inside = np.maximum(np.abs(u - 0.1) - 0.27, np.abs(bend) * 0.8 - 0.0045)
        best = np.minimum(best, inside)
    for _ in range(16):
        px, py = layout.uniform(-0.4, 0.4), layout.uniform(-0.36, 0.36)
        best = np.minimum(best, np.hypot(u - np.float32(px), v - np.float32(py)) - 0.011)
    return best


_PARTS: tuple[tuple[float, float, float, float, str], ...] = (
    (-0.2, -0.1, 0.1, 0.1, "chip"),
    (0.12, 0.22, 0.075, 0.05, "chip"),
    (-0.27, 0.2, 0.035, 0.02, "passive"),
    (-0.17, 0.2, 0.035, 0.02, "passive"),
    (-0.27, 0.28, 0.035, 0.02, "passive"),
    (-0.17, 0.28, 0.035, 0.02, "passive"),
    (-0.06, 0.26, 0.02, 0.036, "passive"),
    (0.28, 0.24, 0.02, 0.036, "passive"),
    (0.02, -0.28, 0.036, 0.02, "passive"),
    (0.12, -0.28, 0.036, 0.02, "passive"),
)
"""Components of the board: centre x, y, half width, half height [image sides], kind."""


def _components(
    rng: np.random.Generator,
    colour: FloatArray,
    u: FloatArray,
    v: FloatArray,
    light: tuple[float, float],
) -> FloatArray:
    """Solder the components and the connector onto the board."""
    size = u.shape[0]
    solder = np.array([0.74, 0.75, 0.76], np.float32)
    for px, py, w, h, kind in _PARTS:
        # A pick-and-place machine is good to a fraction of a per cent.
        du = u - np.float32(px + rng.normal(0, 0.0015))
        dv = v - np.float32(py + rng.normal(0, 0.0015))
        if kind == "chip":
            pins = np.maximum(np.abs(du) - w - 0.022, np.abs(dv) - h * 0.92)
            pins = np.maximum(pins, np.abs((dv / 0.026 + 100) % 1 - 0.5) * 0.026 - 0.0065)
            body = rounded_box(du, dv, (w, h), 0.006)
            dot = np.hypot(du + w * 0.75, dv + h * 0.75) - 0.011
            body_colour = np.array([0.09, 0.09, 0.1], np.float32)
        else:
            pins = np.maximum(np.abs(du) - w, np.abs(dv) - h)
            body = np.maximum(np.abs(du) - (w * 0.55 if w > h else w * 0.9),
                              np.abs(dv) - (h * 0.9 if w > h else h * 0.55))
            dot = np.ones_like(du)
            body_colour = np.array([0.62, 0.5, 0.36], np.float32)
        lit = np.clip(-(du * light[0] + dv * light[1]) * -1.2, -0.08, 0.12)
        colour = mix(colour, colour * 0.55, coverage(rounded_box(
            du + light[0] * 0.009, dv + light[1] * 0.009, (w + 0.004, h + 0.004), 0.006
        ), size, 0.012))
        colour = mix(colour, solder + lit[..., None] * 2, coverage(pins, size))
        colour = mix(colour, body_colour + lit[..., None], coverage(body, size))
        colour = mix(colour, np.array([0.3, 0.3, 0.31], np.float32), coverage(dot, size))
    pads = np.maximum(np.abs(u - 0.4) - 0.03, np.abs((v / 0.05 + 100) % 1 - 0.5) * 0.05 - 0.016)
    pads = np.maximum(pads, np.abs(v) - 0.25)
    return mix(colour, np.array([0.86, 0.73, 0.4], np.float32), coverage(pads, size))


