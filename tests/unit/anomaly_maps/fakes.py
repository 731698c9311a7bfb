"""What the tests of detectors share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protoanomalyncd.core.records import Sample
from protoanomalyncd.datasets.generated import render
from protoanomalyncd.testing import TinyBackbone

__all__ = ["TinyBackbone", "render_samples"]


def render_samples(
    folder: Path, product: str, defect: str | None, seeds: Sequence[int], size: int = 96
) -> list[Sample]:
    """Generated images written as PNG; label = the defect or "good"."""
    from PIL import Image

    label = defect or "good"
    samples = []
    for seed in seeds:
        path = folder / "test" / label / f"{product}_{seed:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render(product, defect, seed, size)[0]).save(path)
        samples.append(Sample(path, path.relative_to(folder).as_posix(), label))
    return samples
