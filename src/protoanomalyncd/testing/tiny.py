"""What the contracts need: a network without weights to load, and checks that speak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TinyBackbone", "ensure", "refused"]


def ensure(condition: bool, what: str) -> None:
    """An ``assert`` that says what was expected, also where pytest does not rewrite it.

    Raises:
        AssertionError: the condition does not hold.
    """
    if not condition:
        raise AssertionError(f"expected: {what}")


def refused(action: Callable[[], Any], error: type[Exception]) -> str:
    """The message with which an action is refused.

    Raises:
        AssertionError: it is not, or in more than one line.
    """
    try:
        action()
    except error as found:
        ensure("\n" not in str(found), f"a message of one line, got {found}")
        return str(found)
    raise AssertionError(f"expected: {error.__name__}")


class TinyBackbone:
    """Random 5x5 filters on colours at stride 4, and on the first layer's output at stride 8.

    It has what detectors use of a `Backbone`, and counts their calls.

    Args:
        channels: of the two layers.
    """

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
        """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), in [-1, 1]."""
        return images.permute(0, 3, 1, 2).float() / 127.5 - 1

    def patch_descriptors(self, x: Tensor) -> list[Tensor]:
        """Two maps, the finer first."""
        self.calls += 1
        fine = F.relu(F.conv2d(x, self._first, self._biases[0], stride=4, padding=2))
        return [fine, F.relu(F.conv2d(fine, self._second, self._biases[1], stride=2, padding=2))]
