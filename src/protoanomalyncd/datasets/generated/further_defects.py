"""Twelve further defects, for sets with many classes or with classes that no default has seen.

They are drawn only where they are asked for by name, so that every set made without them stays as
it is. Each looks unlike the others and unlike the usual ones. As in `defects`, a function takes
``(rng, scene)`` and gives the picture, ``(S, S, 3)``, and how much of the defect each pixel holds,
``(S, S)`` in [0, 1].
"""

from __future__ import annotations

import numpy as np

from protoanomalyncd.core.records import FloatArray
from protoanomalyncd.datasets.generated.defects import Defect
from protoanomalyncd.datasets.generated.fields import (
    blob,
    coverage,
    grid,
    mix,
    rounded_box,
    shaded,
    smooth_noise,
    stroke,
)
from protoanomalyncd.datasets.generated.scene import Scene

__all__ = ["FURTHER_DEFECTS"]

_Colour = tuple[float, float, float]


def _opposite(scene: Scene, dark: _Colour, light: _Colour) -> FloatArray:
    """The one of two colours that stands out from the product more."""
    return np.asarray(dark if scene.brightness() > 0.42 else light, np.float32)


def _turned_frame(
    rng: np.random.Generator, size: int, centre: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Coordinates along and across a random direction, from `centre` [image sides]."""
    x, y = grid(size)
    turn = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    return np.asarray(c * dx + s * dy, np.float32), np.asarray(c * dy - s * dx, np.float32)


def _dots(
    rng: np.random.Generator, scene: Scene, number: int, spread: float, radius: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Coverage of scattered round spots, and a dome of height 0..1 on each of them."""
    size = scene.size
    x, y = grid(size)
    centre = scene.place(rng, 0.8 * spread)
    extent = np.zeros((size, size), np.float32)
    domes = np.zeros((size, size), np.float32)
    for _ in range(number):
        at = np.asarray(centre) + rng.normal(0, 0.5 * spread, 2)
        r = rng.uniform(*radius)
        distance = np.hypot(x - np.float32(at[0]), y - np.float32(at[1]))
        extent = np.maximum(extent, coverage(distance - r, size))
        domes = np.maximum(domes, np.sqrt(np.clip(1 - (distance / r) ** 2, 0, 1)) * r / radius[1])
    return extent * scene.cover, domes


def blister(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """Raised bubbles under the surface, each with a lit and a shaded side and a glint."""
    extent, domes = _dots(rng, scene, int(rng.integers(5, 10)), 0.09, (0.018, 0.036))
    relief = np.clip(shaded((0.045 * domes).astype(np.float32), scene.light, 0.55), -0.5, 0.5)
    glint = np.clip(relief - 0.28, 0, 1) * 3
    picture = np.clip(scene.colour * (1 + 1.1 * relief)[..., None] + glint[..., None], 0, 1)
    return mix(scene.colour, picture, extent), extent


def chatter(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """Waves left by a vibrating tool: regular bright and dark bands across a strip."""
    size = scene.size
    along, across = _turned_frame(rng, size, scene.place(rng, 0.1))
    half = (rng.uniform(0.13, 0.18), rng.uniform(0.05, 0.08))
    extent = coverage(rounded_box(along, across, half, 0.02), size, 0.012) * scene.cover
    bend = 0.6 * (across / half[1]) ** 2
    wave = np.sin(along * rng.uniform(230, 270) + bend + rng.uniform(0, 6))
    picture = np.clip(scene.colour * (1 + 0.38 * wave)[..., None] + 0.1 * wave[..., None], 0, 1)
    return mix(scene.colour, picture, extent), extent


def fingerprint(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """The ridges of a greasy finger: concentric loops inside an oval."""
    size = scene.size
    along, across = _turned_frame(rng, size, scene.place(rng, 0.1))
    oval = np.hypot(along / 1.35, across)
    radius = rng.uniform(0.08, 0.11)
    swirl = smooth_noise(rng, size, 6) * 0.006
    loops = np.hypot((along + 0.03) / 1.2, across * 1.1) + swirl
    ridges = 0.5 + 0.5 * np.sin(loops * rng.uniform(380, 440))
    grease = _opposite(scene, (0.16, 0.15, 0.14), (0.86, 0.88, 0.9))
    extent = coverage(oval - radius, size, 0.02) * scene.cover
    return mix(scene.colour, grease, extent * np.clip(1.6 * ridges - 0.35, 0, 0.8)), extent


def ink(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A scribble by a felt pen: a broad zigzag line in one saturated colour."""
    size = scene.size
    centre = np.asarray(scene.place(rng, 0.1))
    corners = int(rng.integers(5, 8))
    turn = rng.uniform(0, np.pi)
    axis = np.array([np.cos(turn), np.sin(turn)])
    normal = np.array([-axis[1], axis[0]])
    steps = np.linspace(-0.12, 0.12, corners)
    swing = np.where(np.arange(corners) % 2, 1, -1) * rng.uniform(0.035, 0.07, corners)
    path = centre + steps[:, None] * axis + swing[:, None] * normal
    extent = stroke(size, path.astype(np.float32), rng.uniform(0.014, 0.019)) * scene.cover
    pens = ((0.1, 0.12, 0.72), (0.5, 0.05, 0.62), (0.05, 0.45, 0.7))
    pen = np.asarray(pens[int(rng.integers(len(pens)))], np.float32)
    return mix(scene.colour, pen + 0.12 * scene.colour, 0.92 * extent), extent


def oil_drop(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A thick drop of oil: nearly black, smooth, with a bright glint towards the lamp."""
    size = scene.size
    radius = rng.uniform(0.055, 0.085)
    centre = scene.place(rng, radius)
    distance = blob(rng, size, centre, radius, roughness=0.06, aspect=rng.uniform(1, 1.3))
    extent = coverage(distance, size) * scene.cover
    x, y = grid(size)
    spot = np.hypot(
        x - np.float32(centre[0] + 0.4 * radius * scene.light[0]),
        y - np.float32(centre[1] + 0.4 * radius * scene.light[1]),
    )
    glint = np.exp(-((spot / (0.22 * radius)) ** 2))
    sheen = np.exp(-(((distance + 0.15 * radius) / (0.12 * radius)) ** 2))
    body = np.array([0.07, 0.05, 0.03], np.float32) + 0.85 * glint[..., None]
    body = body + sheen[..., None] * np.array([0.3, 0.22, 0.08], np.float32)
    return mix(scene.colour, np.clip(body, 0, 1), extent), extent


def peeling(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """The coating has come off in an angular flake: primer shows, below a shaded step."""
    size = scene.size
    centre = np.asarray(scene.place(rng, 0.09))
    corners = int(rng.integers(5, 8))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) + rng.uniform(0, 0.4)
    x, y = grid(size)
    distance = np.full((size, size), -1.0, np.float32)
    for angle in [*angles, 0.0, 2.1, 4.2]:
        side = rng.uniform(0.045, 0.1)
        dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
        distance = np.maximum(distance, dx * np.cos(angle) + dy * np.sin(angle) - side)
    extent = coverage(distance, size) * scene.cover
    edge = np.exp(-((distance / 0.008) ** 2))
    mean = scene.colour[scene.cover > 0.5].mean(0)
    primers = [np.array(c, np.float32) for c in ((0.2, 0.62, 0.42), (0.9, 0.55, 0.6))]
    primer = max(primers, key=lambda c: float(np.abs(c - mean).sum()))
    grain = 1 + 0.06 * smooth_noise(rng, size, 60)
    floor = primer * grain[..., None] * (1 - 0.75 * edge)[..., None]
    return mix(scene.colour, np.clip(floor, 0, 1), extent), extent


def pores(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """Gas porosity: dozens of pinholes, black, over a wide field."""
    extent, _ = _dots(rng, scene, int(rng.integers(28, 50)), 0.2, (0.005, 0.0095))
    pit = np.asarray((0.03, 0.03, 0.03) if scene.brightness() > 0.2 else (0.9, 0.9, 0.85))
    return mix(scene.colour, pit.astype(np.float32), 0.95 * extent), extent


def powder(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """Spilt powder: a cloud of white or, on light products, of graphite dust."""
    size = scene.size
    radius = rng.uniform(0.1, 0.14)
    centre = scene.place(rng, 0.6 * radius)
    distance = blob(rng, size, centre, radius, roughness=0.2, harmonics=4)
    density = np.clip(-distance / radius, 0, 1)
    grains = smooth_noise(rng, size, 110) + 0.6 * smooth_noise(rng, size, 50)
    cover = np.clip(2.2 * density + 0.55 * grains - 0.25, 0, 1) * (density > 0)
    extent = np.clip(3 * density, 0, 1) * scene.cover
    dust = _opposite(scene, (0.22, 0.22, 0.25), (0.97, 0.97, 0.95))
    return mix(scene.colour, dust, 0.9 * cover * scene.cover), extent.astype(np.float32)


def ring_mark(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """The print of a round foot or cup: one thin dark or pale ring."""
    size = scene.size
    x, y = grid(size)
    centre = scene.place(rng, 0.1)
    radius, width = rng.uniform(0.07, 0.11), rng.uniform(0.007, 0.011)
    distance = np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1])) - radius
    wear = np.clip(0.9 + 0.2 * smooth_noise(rng, size, 10), 0.55, 1)
    extent = coverage(np.abs(distance) - width, size, 0.004) * scene.cover
    colour = _opposite(scene, (0.2, 0.13, 0.08), (0.93, 0.9, 0.82))
    return mix(scene.colour, colour, extent * wear), extent


def rust(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """Corrosion: orange to brown, frayed and speckled, without a clear outline."""
    size = scene.size
    radius = rng.uniform(0.08, 0.12)
    centre = scene.place(rng, 0.7 * radius)
    distance = blob(rng, size, centre, radius, roughness=0.35, harmonics=9)
    ragged = distance + 0.03 * smooth_noise(rng, size, 34, 2)
    extent = coverage(ragged, size, 0.012) * scene.cover
    grain = np.clip(0.5 + 0.3 * smooth_noise(rng, size, 60, 2), 0, 1)
    fresh, old = np.array([0.82, 0.4, 0.08]), np.array([0.32, 0.13, 0.05])
    colour = fresh * grain[..., None] + old * (1 - grain[..., None])
    return mix(scene.colour, colour.astype(np.float32), 0.92 * extent), extent


def scuff(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A rubbed patch: many short fine lines, nearly parallel."""
    size = scene.size
    centre = np.asarray(scene.place(rng, 0.1))
    turn = rng.uniform(0, np.pi)
    axis = np.array([np.cos(turn), np.sin(turn)])
    normal = np.array([-axis[1], axis[0]])
    extent = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(22, 34))):
        at = centre + rng.normal(0, 0.05) * axis + rng.normal(0, 0.045) * normal
        half = rng.uniform(0.03, 0.07) * axis + rng.normal(0, 0.004) * normal
        path = np.stack([at - half, at, at + half]).astype(np.float32)
        extent = np.maximum(extent, stroke(size, path, rng.uniform(0.003, 0.006)))
    extent = extent * scene.cover
    worn = _opposite(scene, (0.12, 0.12, 0.12), (0.95, 0.95, 0.95))
    return mix(scene.colour, worn, 0.85 * extent), extent


def tape(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A forgotten piece of adhesive tape: a yellow strip with straight edges and a sheen."""
    size = scene.size
    along, across = _turned_frame(rng, size, scene.place(rng, 0.09))
    half = (rng.uniform(0.1, 0.15), rng.uniform(0.035, 0.05))
    distance = rounded_box(along, across, half, 0.003)
    extent = coverage(distance, size) * scene.cover
    sheen = np.exp(-(((across - 0.3 * half[1]) / (0.25 * half[1])) ** 2))
    edge = np.exp(-((distance / 0.004) ** 2))
    strip = np.array([0.93, 0.8, 0.25], np.float32) * (1 + 0.15 * sheen - 0.35 * edge)[..., None]
    return mix(scene.colour, np.clip(strip, 0, 1), 0.9 * extent), extent


FURTHER_DEFECTS: dict[str, Defect] = {
    "blister": blister,
    "chatter": chatter,
    "fingerprint": fingerprint,
    "ink": ink,
    "oil_drop": oil_drop,
    "peeling": peeling,
    "pores": pores,
    "powder": powder,
    "ring_mark": ring_mark,
    "rust": rust,
    "scuff": scuff,
    "tape": tape,
}
"""Further defect by name."""
