"""Weights, pictures and masks of the attention's golden values, the same for both sides."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

SHAPE = {"side": 64, "patch": 16, "width": 24, "depth": 12, "guided": 9, "heads": 3, "mlp_ratio": 2}


def pattern(shape: tuple[int, ...], start: int) -> Tensor:
    """Numbers in [-1, 1] by a formula, which no library's generator can change."""
    n = 1
    for length in shape:
        n *= length
    positions = torch.arange(n, dtype=torch.float64)
    return torch.sin(12.9898 * positions + 0.7 * start).reshape(shape)


def fill(model: nn.Module) -> None:
    """Give every parameter its numbers, in the order of their names."""
    with torch.no_grad():
        for start, (name, parameter) in enumerate(sorted(model.named_parameters())):
            values = pattern(tuple(parameter.shape), start)
            scale = 0.3 if parameter.ndim > 1 else 0.1
            one = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(one + scale * values)


def picture(number: int) -> Tensor:
    """Normalised image (3, side, side)."""
    return pattern((3, SHAPE["side"], SHAPE["side"]), 100 + number)


def _block(top: int, left: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(SHAPE["side"], SHAPE["side"])
    mask[top : top + height, left : left + width] = 1
    return mask


MASKS: dict[str, Callable[[], Tensor]] = {
    "one patch": lambda: _block(16, 16, 16, 16),
    "exactly half of two patches": lambda: _block(8, 0, 8, 32),
    "less than half of every patch": lambda: _block(30, 0, 4, 64),
    "empty": lambda: _block(0, 0, 0, 0),
    "everything": lambda: _block(0, 0, 64, 64),
    "across": lambda: _block(20, 5, 30, 50),
}
