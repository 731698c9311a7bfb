"""Defects: each changes a clean scene, and says exactly where.

Every function takes ``(rng, scene)`` and gives ``(picture, extent)``: the scene's colours with the
defect, ``(S, S, 3)``, and how much of the defect each pixel holds, ``(S, S)`` in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from protoanomalyncd.core.records import FloatArray
from protoanomalyncd.datasets.generated.fields import (
    blob,
    blurred,
    coverage,
    curve,
    grid,
    mix,
    shaded,
    shifted,
    smooth_noise,
    stroke,
    wander,
)
from protoanomalyncd.datasets.generated.scene import Scene

__all__ = [
    "DEFECTS",
    "Defect",
    "burn",
    "chipped_edge",
    "contamination",
    "crack",
    "dent",
    "hole",
    "scratch",
    "stain",
]

Defect: TypeAlias = Callable[[np.random.Generator, Scene], tuple[FloatArray, FloatArray]]


def scratch(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """One to three fine smooth grooves: a bright flank beside a dark one."""
    size = scene.size
    centre = scene.place(rng, 0.08)
    extent = np.zeros((size, size), np.float32)
    length, bend = rng.uniform(0.2, 0.5), rng.uniform(0.1, 0.8)
    path = curve(rng, centre, length, bend)
    width = rng.uniform(0.007, 0.013)
    taper = np.clip(np.sin(np.linspace(0.15, np.pi - 0.15, len(path))) * 1.4, 0.35, 1)
    for k in range(int(rng.choice([1, 1, 2, 3]))):
        aside = np.asarray(rng.normal(0, 0.022, 2) * (k > 0), np.float32)
        part = (
            slice(0, None) if k == 0 else slice(int(rng.integers(0, 10)), int(rng.integers(15, 24)))
        )
        line = stroke(size, path[part] + aside, (width * (0.6 if k else 1) * taper[part]))
        extent = np.maximum(extent, line)
    extent = extent * scene.cover
    strength = rng.uniform(0.7, 1.0)
    # Bare material in the groove; the flank that faces away from the lamp is in shadow.
    dark = shifted(extent, scene.light, -0.5 * width)
    lifted = scene.colour * 0.2 + np.asarray(scene.inside, np.float32) * 0.95
    if scene.brightness() > 0.6:
        # Nothing is brighter than a bright surface: here a groove shows by its shade.
        lifted = scene.colour * 0.55
    picture = mix(scene.colour, np.clip(lifted, 0, 1), extent * strength)
    picture = mix(picture, picture * 0.3, extent * dark * strength * 0.8)
    return picture, extent


def crack(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A dark, jagged line that thins out and branches."""
    size = scene.size
    start = scene.place(rng, 0.06)
    direction = rng.uniform(0, 2 * np.pi)
    length, width = rng.uniform(0.22, 0.42), rng.uniform(0.008, 0.014)
    main = wander(rng, start, direction, length)
    back = wander(rng, start, direction + np.pi, length * rng.uniform(0.3, 0.8))
    extent = np.zeros((size, size), np.float32)
    for path in (main, back):
        taper = np.linspace(1, 0.25, len(path))
        extent = np.maximum(extent, stroke(size, path, width * taper))
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(1, max(2, len(main) - 2)))
        side = direction + rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
        branch = wander(rng, tuple(main[at]), side, length * rng.uniform(0.2, 0.5))
        taper = np.linspace(0.6, 0.2, len(branch))
        extent = np.maximum(extent, stroke(size, branch, width * taper))
    extent = extent * scene.cover
    edge = np.clip(shifted(extent, scene.light, 0.006) - extent, 0, 1) * scene.cover
    picture = mix(scene.colour, scene.colour * 0.12, extent * rng.uniform(0.8, 1.0))
    # The far rim of the gap catches light.
    picture = mix(picture, np.asarray(scene.inside, np.float32), 0.3 * edge)
    return picture, np.maximum(extent, 0.3 * edge)


def hole(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A round opening: what lies behind shows, shaded by the near rim."""
    size = scene.size
    radius = rng.uniform(0.026, 0.06)
    centre = scene.place(rng, 1.4 * radius)
    distance = blob(rng, size, centre, radius, roughness=0.07, aspect=rng.uniform(1, 1.3))
    opening = coverage(distance, size) * scene.cover
    rim = coverage(np.abs(distance + 0.002) - 0.006, size, 0.006) * scene.cover
    depth = 1 - shifted(coverage(distance, size), scene.light, rng.uniform(0.3, 0.6) * radius)
    depth = blurred(depth, max(0.12 * radius * size, 0.4))
    floor = scene.behind * (0.75 - 0.6 * depth)[..., None]
    x, y = grid(size)
    facing = ((x - centre[0]) * scene.light[0] + (y - centre[1]) * scene.light[1]) / radius
    lit = np.asarray(scene.inside, np.float32) * (0.75 - 0.45 * facing)[..., None]
    picture = mix(scene.colour, np.clip(lit, 0, 1), 0.8 * rim)
    picture = mix(picture, floor, opening)
    return picture, np.maximum(opening, rim)


_LIQUIDS: tuple[tuple[float, float, float], ...] = (
    (0.5, 0.38, 0.24),
    (0.36, 0.32, 0.3),
    (0.62, 0.5, 0.3),
    (0.45, 0.3, 0.22),
)
"""Transmission of dried liquids: oil, grease, coffee, rust water (RGB)."""


def stain(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A dried liquid: flat, tinted, with a darker border and a few drops beside it."""
    size = scene.size
    radius = rng.uniform(0.05, 0.11)
    centre = scene.place(rng, radius)
    distance = blob(rng, size, centre, radius, roughness=0.28, aspect=rng.uniform(1, 1.6))
    for _ in range(int(rng.integers(0, 4))):
        angle, far = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.3, 1.9)
        at = (centre[0] + far * float(np.cos(angle)), centre[1] + far * float(np.sin(angle)))
        drop = blob(rng, size, at, radius * rng.uniform(0.1, 0.25), roughness=0.1)
        distance = np.minimum(distance, drop)
    extent = coverage(distance, size, 0.01) * scene.cover
    border = np.exp(-(((distance + 0.008) / 0.007) ** 2))
    dirt = np.clip(0.62 + 0.1 * smooth_noise(rng, size, 14, 3), 0.3, 0.9)
    amount = extent * np.clip(dirt + 0.35 * border, 0, 1) * rng.uniform(0.75, 1.0)
    liquid = np.asarray(_LIQUIDS[int(rng.integers(len(_LIQUIDS)))], np.float32)
    if scene.brightness() < 0.33:
        # On dark material a dried liquid leaves a pale residue.
        return mix(scene.colour, 0.45 * scene.colour + 0.5 * (0.4 + liquid), 0.8 * amount), extent
    return mix(scene.colour, scene.colour * liquid, amount), extent


def dent(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A dimple: no change of material, only of shading; the texture is bent with it."""
    size = scene.size
    radius = rng.uniform(0.07, 0.12)
    centre = scene.place(rng, 0.9 * radius)
    distance = blob(
        rng, size, centre, radius, roughness=0.1, aspect=rng.uniform(1, 1.6), harmonics=3
    )
    inward = np.clip(-distance / radius, 0, 1)
    profile = 0.5 - 0.5 * np.cos(np.pi * np.sqrt(inward))
    height = (-profile * radius * 0.5).astype(np.float32)
    height = blurred(height, 0.012 * size + 0.3)
    relief = shaded(height, scene.light, rng.uniform(0.28, 0.4))
    gy, gx = np.gradient(height * size)
    # Refraction of the surface: each pixel shows a point further down the slope.
    column, row = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    bent = cv2.remap(
        scene.colour,
        (column + gx * 0.012 * size).astype(np.float32),
        (row + gy * 0.012 * size).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    base = 0.35 + 0.65 * scene.colour
    picture = np.clip(bent + (0.3 * np.tanh(relief / 0.3))[..., None] * base, 0, 1)
    extent = coverage(distance, size, 0.01) * scene.cover
    return mix(scene.colour, picture.astype(np.float32), extent), extent


def _near_outline(rng: np.random.Generator, scene: Scene, depth: float) -> tuple[float, float]:
    """A random point at most `depth` [image sides] inside the outer outline, x, y."""
    size = scene.size
    solid = (scene.cover > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(solid), outlines, -1, 1, cv2.FILLED)
    inward = cv2.distanceTransform(filled, cv2.DIST_L2, 3)
    rows, columns = np.nonzero((inward > 0) & (inward <= max(depth * size, 1.0)) & (solid > 0))
    pick = int(rng.random() * len(rows))
    return (columns[pick] + 0.5) / size, (rows[pick] + 0.5) / size


def chipped_edge(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """A piece broken off at the outline: the background shows, framed by a bright fracture."""
    size = scene.size
    radius = rng.uniform(0.045, 0.08)
    at = _near_outline(rng, scene, 0.35 * radius)
    distance = blob(
        rng, size, at, radius, roughness=0.17, aspect=rng.uniform(1.0, 1.7), harmonics=7
    )
    # Down to the last trace of the outline: a blended border would stay as a thin rim.
    present = (scene.cover > 0.01).astype(np.float32)
    gone = coverage(distance, size) * present
    broken = coverage(distance - rng.uniform(0.012, 0.024), size) * present
    grain = 0.16 * smooth_noise(rng, size, 70) + 0.1 * smooth_noise(rng, size, 25)
    x, y = grid(size)
    facing = ((x - at[0]) * scene.light[0] + (y - at[1]) * scene.light[1]) / radius
    facing = np.clip(facing, -1, 1)
    fracture = np.asarray(scene.inside, np.float32) * (0.88 - 0.22 * facing + grain)[..., None]
    picture = mix(scene.colour, np.clip(fracture, 0, 1), 0.92 * broken)
    picture = mix(picture, scene.behind, gone)
    return picture, np.maximum(gone, broken)


def _hair(
    rng: np.random.Generator, centre: tuple[float, float], length: float, points: int = 60
) -> FloatArray:
    """A curled fibre: its curvature drifts; ``(points, 2)`` x, y [image sides]."""
    drift = np.cumsum(rng.normal(0, 1, points))
    drift = np.convolve(drift, np.ones(9) / 9, "same")
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(drift - drift.mean()) * rng.uniform(0.02, 0.05)
    heading += np.linspace(0, rng.normal(0, 2.0), points)
    steps = np.stack([np.cos(heading), np.sin(heading)], -1) * (length / points)
    path = np.cumsum(steps, 0)
    return np.asarray(path - path[points // 2] + np.asarray(centre), np.float32)


def contamination(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """Foreign matter on the surface: a hair or thread, or scattered swarf and dust."""
    size = scene.size
    centre = scene.place(rng, 0.08)
    matter = np.zeros((size, size), np.float32)
    if rng.random() < 0.5:
        width = rng.uniform(0.006, 0.009)
        path = _hair(rng, centre, rng.uniform(0.3, 0.55))
        matter = stroke(size, path, width)
        colours = [(0.75, 0.12, 0.12), (0.1, 0.16, 0.5), (0.92, 0.92, 0.88), (0.05, 0.05, 0.05)]
    else:
        width = 0.012
        for _ in range(int(rng.integers(5, 14))):
            far = rng.normal(0, 0.05, 2)
            at = (centre[0] + float(far[0]), centre[1] + float(far[1]))
            grain = blob(
                rng,
                size,
                at,
                rng.uniform(0.006, 0.016),
                roughness=0.35,
                aspect=rng.uniform(1, 2.5),
            )
            matter = np.maximum(matter, coverage(grain, size))
        colours = [(0.16, 0.13, 0.1), (0.78, 0.78, 0.8), (0.55, 0.25, 0.1), (0.95, 0.94, 0.9)]
    # The most visible of two: foreign matter that cannot be seen is no use as an example.
    picks = [np.asarray(colours[int(rng.integers(4))], np.float32) for _ in range(2)]
    mean = scene.brightness()
    colour = max(picks, key=lambda c: abs(float(c.mean()) - mean))
    matter = matter * np.maximum(scene.cover, 0)
    shadow = blurred(shifted(matter, scene.light, 0.8 * width), 0.004 * size + 0.3)
    shadow = shadow * scene.cover
    round_ = np.clip(shaded(matter * np.float32(width), scene.light, 0.25), -0.2, 0.2)
    picture = mix(scene.colour, scene.colour * 0.45, shadow)
    picture = mix(picture, np.clip(colour + round_[..., None], 0, 1), matter)
    return picture, np.maximum(matter, 0.6 * shadow)


def burn(rng: np.random.Generator, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """Discolouration by heat: soft rings from straw over brown to black."""
    size = scene.size
    radius = rng.uniform(0.11, 0.19)
    centre = scene.place(rng, 0.6 * radius)
    distance = blob(
        rng, size, centre, radius, roughness=0.15, aspect=rng.uniform(1, 1.5), harmonics=4
    )
    heat = np.clip(-distance / radius + 0.05 * smooth_noise(rng, size, 12, 3), 0, 1)
    heat = heat * rng.uniform(0.8, 1.2)
    at = [0.0, 0.2, 0.42, 0.7, 1.0]
    tints = [(1, 1, 1), (1.0, 0.88, 0.62), (0.68, 0.45, 0.26), (0.3, 0.22, 0.2), (0.1, 0.09, 0.1)]
    tint = np.stack([np.interp(heat, at, [t[c] for t in tints]) for c in range(3)], -1)
    picture = scene.colour * tint.astype(np.float32)
    if scene.brightness() < 0.33:
        # On dark material the char is hard to see; its rim of ash is not.
        ash = np.interp(heat, at, [0, 0.16, 0.12, 0.06, 0.03]).astype(np.float32)[..., None]
        picture = picture + ash * np.array([1.0, 0.86, 0.68], np.float32)
    extent = np.clip(heat / 0.2, 0, 1).astype(np.float32) * scene.cover
    return mix(scene.colour, np.clip(picture, 0, 1), scene.cover), extent


DEFECTS: dict[str, Defect] = {
    "burn": burn,
    "chipped_edge": chipped_edge,
    "contamination": contamination,
    "crack": crack,
    "dent": dent,
    "hole": hole,
    "scratch": scratch,
    "stain": stain,
}
"""Defect by name."""
