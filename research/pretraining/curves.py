"""Draw what several rounds learned.

``python -m research.pretraining.curves --runs A B --out FILE.svg``.

Left: cosine to the teachers' features on held-out crops, dotted at 128 px, solid at 256 px; right:
the same of means over regions less the image's, which pooling lives on, and of the guided class
token.  Rounds stand one after
the other on the time axis.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PATCHES = ("r18_l2", "r50_l2", "r18_l3", "r50_l3", "vit_4", "vit_10")
GUIDED = "cls_vit_guided"
REGIONS = (*(f"contrast_{name}" for name in PATCHES[:4]), GUIDED)
COLOURS = {
    "r18_l2": "#1f77b4",
    "r50_l2": "#d62728",
    "r18_l3": "#17becf",
    "r50_l3": "#ff7f0e",
    "vit_4": "#2ca02c",
    "vit_10": "#9467bd",
    GUIDED: "#000",
}
WIDTH, HEIGHT, MARGIN = 400, 260, 40
"""Of one panel and of the room around it, pixels."""

LOW, HIGH = 0.4, 0.9
"""Cosines shown."""


def held_out(run: Path) -> list[tuple[float, dict[str, Any]]]:
    """(minutes, cosines by crop size) of a run; a run without sizes was checked at 128 px."""
    rows = []
    for line in (run / "curves.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "held_out" in record:
            found = record["held_out"]
            by_size = found if "128" in found else {"128": found}
            rows.append((float(record["minutes"]), by_size))
    return rows


def text(x: float, y: float, words: str, colour: str = "#333", anchor: str = "middle") -> str:
    """One line of text."""
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def panel(left: int, title: str, rounds: list[Any], names: tuple[str, ...]) -> list[str]:
    """Axes and lines of one panel that begins ``left`` pixels from the edge."""
    ends = [0.0]
    for rows in rounds:
        ends.append(ends[-1] + max((m for m, _ in rows), default=0.0))

    def place(minutes: float, value: float) -> tuple[float, float]:
        return (
            left + WIDTH * minutes / max(ends[-1], 1e-9),
            MARGIN + HEIGHT * (HIGH - value) / (HIGH - LOW),
        )

    out = [text(left + WIDTH / 2, MARGIN - 12, title)]
    for tenth in range(round(LOW * 10), round(HIGH * 10) + 1):
        x, y = place(0, tenth / 10)
        out.append(f'<path d="M{x:.0f} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        out.append(text(x - 6, y + 4, f".{tenth}", anchor="end"))
    for end in ends:
        x, y = place(end, LOW)
        out.append(f'<path d="M{x:.1f} {y:.1f}v-{HEIGHT}" stroke="#bbb"/>')
        out.append(text(x, y + 16, f"{end:.0f}"))
    out.append(text(left + WIDTH / 2, MARGIN + HEIGHT + 32, "minutes, round after round"))
    for start, rows in zip(ends, rounds, strict=False):
        for name in names:
            colour = COLOURS[name.removeprefix("contrast_")]
            for size, dash in (("128", "2 3"), ("256", "none")):
                found = [
                    place(start + m, c[size][name]) for m, c in rows if name in c.get(size, {})
                ]
                points = " ".join(f"{x:.1f},{y:.1f}" for x, y in found)
                out.append(
                    f'<polyline points="{points}" fill="none" stroke="{colour}" '
                    f'stroke-width="1.6" stroke-dasharray="{dash}"/>'
                )
    return out


def picture(rounds: list[Any]) -> str:
    """The whole drawing as SVG."""
    second = WIDTH + 2 * MARGIN + 10
    parts = panel(MARGIN, "patches", rounds, PATCHES)
    parts += panel(second, "regions: means less the image's, class token", rounds, REGIONS)
    right = second + WIDTH + 12
    for number, (name, colour) in enumerate(COLOURS.items()):
        parts.append(text(right, MARGIN + 14 + 18 * number, name, colour, "start"))
    parts.append(text(right, MARGIN + 158, "solid: 256 px", anchor="start"))
    parts.append(text(right, MARGIN + 176, "dotted: 128 px", anchor="start"))
    size = f'width="{right + 100}" height="{HEIGHT + 2 * MARGIN}"'
    style = 'font-family="sans-serif" font-size="12"'
    paper = '<rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', paper, *parts, "</svg>\n"]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(picture([held_out(run) for run in args.runs]))


if __name__ == "__main__":
    main()
