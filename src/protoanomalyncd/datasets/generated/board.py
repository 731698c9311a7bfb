"""The printed circuit board: one fixed layout, drawn once for each size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from protoanomalyncd.core.records import FloatArray
from protoanomalyncd.datasets.generated.fields import coverage, grid, mix, rounded_box

__all__ = ["printed_board"]

_LIGHT = (-0.59, -0.81)
"""Direction of the lamp (x, y) for which the components are shaded."""

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


@lru_cache(maxsize=4)
def printed_board(size: int) -> tuple[FloatArray, FloatArray]:
    """The board in its nominal place: colour ``(S, S, 3)`` and coverage ``(S, S)``; read-only."""
    x, y = grid(size)
    u, v = x - np.float32(0.5), y - np.float32(0.5)
    distance = rounded_box(u, v, (0.44, 0.4), 0.025)
    screws = np.hypot(np.abs(u) - 0.39, np.abs(v) - 0.35)
    distance = np.maximum(distance, 0.022 - screws)
    cover = coverage(distance, size)
    colour = np.empty((size, size, 3), np.float32)
    colour[:] = (0.06, 0.29, 0.17)
    copper = coverage(_traces(u, v), size)
    colour = mix(colour, np.array([0.13, 0.43, 0.26], np.float32), copper)
    ring = coverage(np.abs(screws - 0.03) - 0.007, size)
    gold = np.array([0.84, 0.73, 0.42], np.float32)
    colour = mix(colour, gold, ring)
    for part in _PARTS:
        colour = _component(colour, u, v, part)
    pads = np.maximum(np.abs(u - 0.4) - 0.03, np.abs((v / 0.05 + 100) % 1 - 0.5) * 0.05 - 0.016)
    colour = mix(colour, gold, coverage(np.maximum(pads, np.abs(v) - 0.25), size))
    # Shared by every caller through the cache.
    colour.setflags(write=False)
    cover.setflags(write=False)
    return colour, cover


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


def _component(
    colour: FloatArray, u: FloatArray, v: FloatArray, part: tuple[float, float, float, float, str]
) -> FloatArray:
    """Solder one component onto the board, with its shadow."""
    size = u.shape[0]
    px, py, w, h, kind = part
    du, dv = u - np.float32(px), v - np.float32(py)
    if kind == "chip":
        pins = np.maximum(np.abs(du) - w - 0.022, np.abs(dv) - h * 0.92)
        pins = np.maximum(pins, np.abs((dv / 0.026 + 100) % 1 - 0.5) * 0.026 - 0.0065)
        body = rounded_box(du, dv, (w, h), 0.006)
        dot = np.hypot(du + w * 0.75, dv + h * 0.75) - 0.011
        body_colour = np.array([0.09, 0.09, 0.1], np.float32)
    else:
        lying = w > h
        pins = np.maximum(np.abs(du) - w, np.abs(dv) - h)
        body_half = (w * 0.55, h * 0.9) if lying else (w * 0.9, h * 0.55)
        body = np.maximum(np.abs(du) - body_half[0], np.abs(dv) - body_half[1])
        dot = np.ones_like(du)
        body_colour = np.array([0.62, 0.5, 0.36], np.float32)
    lit = np.clip((du * _LIGHT[0] + dv * _LIGHT[1]) * 1.2, -0.08, 0.12)[..., None]
    fallen = rounded_box(
        du + _LIGHT[0] * 0.009, dv + _LIGHT[1] * 0.009, (w + 0.004, h + 0.004), 0.006
    )
    colour = mix(colour, colour * 0.55, coverage(fallen, size, 0.012))
    colour = mix(colour, np.array([0.74, 0.75, 0.76], np.float32) + lit * 2, coverage(pins, size))
    colour = mix(colour, body_colour + lit, coverage(body, size))
    return mix(colour, np.array([0.3, 0.3, 0.31], np.float32), coverage(dot, size))
