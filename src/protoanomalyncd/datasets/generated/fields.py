"""Random fields and shapes from which products and defects are composed.

Lengths are shares of the image's side, so that a picture keeps its look at any size. All fields
are ``float32`` of shape ``(S, S)``, S = side of the image [px].
"""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from protoanomalyncd.core.records import FloatArray

__all__ = [
    "Field",
    "blob",
    "blurred",
    "coverage",
    "curve",
    "grid",
    "mix",
    "ramp",
    "rounded_box",
    "shaded",
    "shifted",
    "smooth_noise",
    "stroke",
    "wander",
]

Field: TypeAlias = npt.NDArray[np.floating[Any]]
"""Intermediate values, of either precision."""

_SUBPIXEL_BITS = 4
"""OpenCV draws at 1/16 pixel."""


def grid(size: int) -> tuple[FloatArray, FloatArray]:
    """Coordinates x and y of the pixels' centres, in (0, 1); each ``(S, S)``."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(line, line)
    return x.astype(np.float32), y.astype(np.float32)


def smooth_noise(
    rng: np.random.Generator, size: int, cells: int | tuple[int, int], octaves: int = 1
) -> FloatArray:
    """Band-limited noise, about zero mean and unit deviation; ``(S, S)``.

    Args:
        rng: draws the field; the number of draws does not depend on the size.
        size: side of the image [px].
        cells: random values across the image (rows, columns).
        octaves: number of bands; each has twice the cells and half the amplitude of the last.
    """
    rows, columns = (cells, cells) if isinstance(cells, int) else cells
    total = np.zeros((size, size), np.float32)
    weight = 0.0
    for octave in range(octaves):
        shape = ((rows << octave) + 3, (columns << octave) + 3)
        values = rng.standard_normal(shape).astype(np.float32)
        # A margin of one cell on each side: the enlarged grid shows no border effect.
        step_y, step_x = size / (rows << octave), size / (columns << octave)
        offset = rng.random(2) * 0.5 + 1.0
        matrix = np.array([[1 / step_x, 0, offset[0]], [0, 1 / step_y, offset[1]]], np.float32)
        field = cv2.warpAffine(
            values,
            matrix,
            (size, size),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        amplitude = 0.5**octave
        total += amplitude * field
        weight += amplitude**2
    # Cubic interpolation between independent values loses about a quarter of the deviation.
    return np.asarray(total * np.float32(1.33 / np.sqrt(weight)), np.float32)


def coverage(distance: Field, size: int, softness: float = 0.0) -> FloatArray:
    """Share of each pixel inside a shape, from its signed distance (negative = inside).

    Args:
        distance: signed distance [image sides], ``(S, S)``.
        size: side of the image [px].
        softness: width of the blurred edge [image sides]; 0 = one pixel.
    """
    width = max(1.0 / size, softness)
    return np.asarray(np.clip(0.5 - distance / width, 0.0, 1.0), np.float32)


def rounded_box(x: Field, y: Field, half: tuple[float, float], r: float) -> FloatArray:
    """Signed distance to a box of half sides `half` with corners of radius `r`, at the origin."""
    qx, qy = np.abs(x) - (half[0] - r), np.abs(y) - (half[1] - r)
    outside = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0))
    return np.asarray(outside + np.minimum(np.maximum(qx, qy), 0) - r, np.float32)


def mix(first: Any, second: Any, weight: Field) -> FloatArray:
    """``first`` where weight is 0, ``second`` where it is 1; weight ``(S, S)``, colours RGB."""
    w = weight[..., None]
    return np.asarray(np.float32(1) * first * (1 - w) + second * w, np.float32)


def ramp(values: Field, stops: list[tuple[float, float, float]]) -> FloatArray:
    """Colours along a ramp: ``(S, S)`` values in [0, 1] -> ``(S, S, 3)``."""
    at = np.linspace(0, 1, 256)
    places = np.linspace(0, 1, len(stops))
    table = np.stack(
        [np.interp(at, places, [s[channel] for s in stops]) for channel in range(3)], axis=-1
    ).astype(np.float32)
    return np.asarray(table[np.clip(values * 255, 0, 255).astype(np.uint8)], np.float32)


def shaded(height: Field, light: tuple[float, float], strength: float) -> FloatArray:
    """Brightness change of a relief lit from direction `light` (x, y); ``(S, S)``.

    Args:
        height: relief [image sides].
        light: direction towards the lamp, unit vector.
        strength: change at a slope of one.
    """
    gy, gx = np.gradient(height * height.shape[0])
    return np.asarray(-(gx * light[0] + gy * light[1]) * strength, np.float32)


def blob(
    rng: np.random.Generator,
    size: int,
    centre: tuple[float, float],
    radius: float,
    *,
    roughness: float = 0.25,
    aspect: float = 1.0,
    harmonics: int = 6,
) -> FloatArray:
    """Signed distance (approximate) to an irregular blob: its radius varies with the angle.

    Args:
        rng: draws the outline and the orientation.
        size: side of the image [px].
        centre: x, y [image sides].
        radius: mean radius [image sides].
        roughness: relative deviation of the radius.
        aspect: longer by shorter axis.
        harmonics: waves around the outline; more = more ragged.
    """
    x, y = grid(size)
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    turn = rng.uniform(0, np.pi)
    stretch = np.sqrt(aspect)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = np.asarray((c * x + s * y) / stretch, np.float32)
    across = np.asarray((c * y - s * x) * stretch, np.float32)
    distance, angle = cv2.cartToPolar(along, across)
    at = np.linspace(0, 2 * np.pi, 361)
    outline = np.ones(361)
    for k in range(1, harmonics + 1):
        amplitude = roughness * rng.standard_normal() / np.sqrt(k) / 1.6
        outline += amplitude * np.cos(k * at + rng.uniform(0, 2 * np.pi))
    table = (radius * np.clip(outline, 0.35, 2.0)).astype(np.float32)
    index = np.minimum((angle * (180 / np.pi)).astype(np.int32), 360)
    return np.asarray(distance - table[index], np.float32)


def curve(
    rng: np.random.Generator,
    centre: tuple[float, float],
    length: float,
    bend: float,
) -> FloatArray:
    """A smooth arc through `centre`: ``(24, 2)`` x, y [image sides]; `bend` [radians]."""
    points = 24
    start = rng.uniform(0, 2 * np.pi)
    turning = rng.normal(0, bend) * np.linspace(-0.5, 0.5, points)
    turning += rng.normal(0, bend / 2) * np.linspace(-0.5, 0.5, points) ** 2
    steps = np.stack([np.cos(start + turning), np.sin(start + turning)], -1) * (length / points)
    path = np.cumsum(steps, 0)
    return np.asarray(path - path[points // 2] + np.asarray(centre), np.float32)


def wander(
    rng: np.random.Generator,
    start: tuple[float, float],
    direction: float,
    length: float,
) -> FloatArray:
    """A jagged path, as a crack runs: ``(n, 2)`` x, y [image sides]; angles in radians."""
    points = [np.asarray(start, np.float64)]
    heading, travelled = direction, 0.0
    while travelled < length:
        step = float(rng.uniform(0.008, 0.028))
        # The heading returns to the main direction: cracks zigzag but do not curl.
        heading = direction + 0.5 * (heading - direction) + rng.normal(0, 0.55)
        points.append(points[-1] + step * np.array([np.cos(heading), np.sin(heading)]))
        travelled += step
    return np.asarray(points, np.float32)


def stroke(size: int, path: FloatArray, widths: Field | float) -> FloatArray:
    """Coverage of a line of varying width, anti-aliased; ``(S, S)`` in [0, 1].

    Args:
        size: side of the image [px].
        path: ``(n, 2)`` x, y [image sides].
        widths: width at each point [image sides], or one for all.
    """
    # Drawn at three times the size: OpenCV's own anti-aliasing has whole-pixel widths only.
    factor = 3 if size <= 512 else 2
    side = size * factor
    canvas = np.zeros((side, side), np.uint8)
    corners = np.round(path * side * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    thick = np.broadcast_to(np.asarray(widths, np.float32), (len(path),)) * side
    for i in range(len(path) - 1):
        width = max(1, round(float(thick[i])))
        cv2.line(
            canvas,
            tuple(map(int, corners[i])),
            tuple(map(int, corners[i + 1])),
            255,
            width,
            cv2.LINE_8,
            _SUBPIXEL_BITS,
        )
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def shifted(field: FloatArray, light: tuple[float, float], by: float) -> FloatArray:
    """`field` moved away from the lamp by `by` [image sides]."""
    size = field.shape[0]
    move = np.array([[1, 0, -light[0] * by * size], [0, 1, -light[1] * by * size]], np.float32)
    return np.asarray(cv2.warpAffine(field, move, (size, size)), np.float32)


def blurred(field: FloatArray, sigma: float) -> FloatArray:
    """`field` under a Gaussian of `sigma` [px]."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)
