"""A tiny network with the seam's methods: random convolutions, no weights to load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.core.records import Sample
from protoanomalyncd.datasets.generated import render


class TinyBackbone:
    """Random 5x5 filters on colours at stride 4, and on the first layer's output at stride 8."""

    name = "tiny"
    embed_dim = 16
    patch_size = 8
    prenormalised = False

    def __init__(self, channels: tuple[int, int] = (8, 16)) -> None:
        generator = torch.Generator().manual_seed(7)
        first, second = channels
        self._first = torch.randn(first, 3, 5, 5, generator=generator) / 5
        self._second = torch.randn(second, first, 5, 5, generator=generator) / 10
        # Without biases a darker patch would be the same direction, only shorter.
        self._biases = [torch.randn(n, generator=generator) for n in channels]
        self.calls = 0

    def preprocess(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).float() / 127.5 - 1

    def patch_descriptors(self, x: Tensor) -> list[Tensor]:
        self.calls += 1
        fine = F.relu(F.conv2d(x, self._first, self._biases[0], stride=4, padding=2))
        return [fine, F.relu(F.conv2d(fine, self._second, self._biases[1], stride=2, padding=2))]


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
