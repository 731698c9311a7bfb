"""Curves of `research.benchmarks.speed` as SVG."""

from __future__ import annotations

import math

COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626", "#6b7280", "#0f172a", "#db2777")
WIDTH, HEIGHT = 640, 330
LEFT, RIGHT, TOP, BOTTOM = 74, 140, 28, 52
LINE_HEIGHT = 14


def plot(curves: dict[str, list[tuple[int, float]]], across: str, up: str) -> str:
    """Lines on two logarithmic axes, as SVG; their names stand at their ends, apart."""
    points = [p for line in curves.values() for p in line]
    xs = [math.log10(x) for x, _ in points]
    ys = [math.log10(y) for _, y in points]
    low_x, high_x = min(xs), max(*xs, min(xs) + 0.1)
    low_y, high_y = math.floor(min(ys)), max(math.ceil(max(ys)), math.floor(min(ys)) + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        px = LEFT + (math.log10(x) - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT)
        share = (math.log10(y) - low_y) / (high_y - low_y)
        return px, HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for power in range(low_y, high_y + 1):
        _, y = place(points[0][0], 10.0**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        )
    for x in sorted({x for x, _ in points}):
        px, _ = place(x, 1.0)
        parts.append(f'<text x="{px:.1f}" y="{HEIGHT - 28}" text-anchor="middle">{x:,}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}">{across}</text>')
    parts.append(f'<text x="8" y="16">{up}</text>')
    ends = {name: place(*line[-1]) for name, line in curves.items()}
    heights = apart({name: y for name, (_, y) in ends.items()})
    for number, (name, line) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in (place(x, y) for x, y in line))
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{ends[name][0] + 6:.1f}" y="{heights[name] + 4:.1f}" fill="{colour}">'
            f"{name}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def apart(heights: dict[str, float]) -> dict[str, float]:
    """The same heights from the top down, each at least a line below the one before."""
    placed: dict[str, float] = {}
    last = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        last = placed[name] = max(height, last + LINE_HEIGHT)
    return placed
