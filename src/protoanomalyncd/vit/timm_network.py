"""What the backbones made of timm networks share: a frozen network, its record, its input.

Letters: B images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["TimmNetwork", "normalisation"]


class TimmNetwork:
    """A frozen timm network that knows how its input is normalised.

    Args:
        model: the network.
        record: what `record` returns, but for the normalisation; needs ``name``.
        mean: channel means of the expected input, RGB in [0, 1].
        std: channel deviations of the expected input.
    """

    def __init__(
        self,
        model: nn.Module,
        record: dict[str, Any],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self._model: Any = model.eval().requires_grad_(False)
        self._record = {**record, "mean": list(mean), "std": list(std)}
        self._mean = torch.tensor(mean).view(3, 1, 1)
        self._std = torch.tensor(std).view(3, 1, 1)
        self.name = str(record["name"])
        self.prenormalised = hasattr(self._model, "patch_descriptors")

    def record(self) -> dict[str, Any]:
        """Architecture, normalisation and name, JSON-able."""
        return dict(self._record)

    def module(self) -> nn.Module:
        """The timm network."""
        module: nn.Module = self._model
        return module

    def preprocess(self, images: Tensor) -> Tensor:
        """RGB uint8 (B, H, W, 3) -> normalised float (B, 3, H, W)."""
        x = images.permute(0, 3, 1, 2).float() / 255
        return (x - self._mean.to(x.device)) / self._std.to(x.device)


def normalisation(
    record: dict[str, Any], model: Any
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and deviations: the record's, else those that timm knows for the network."""
    cfg = model.pretrained_cfg
    return tuple(record.get("mean", cfg["mean"])), tuple(record.get("std", cfg["std"]))
