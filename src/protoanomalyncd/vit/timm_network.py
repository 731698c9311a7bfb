"""What the backbones made of timm networks share: a frozen network, its record, its input.

Letters: B images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["TimmNetwork"]


class TimmNetwork:
    """A frozen timm network that knows how its input is normalised.

    Args:
        model: the network.
        record: what `record` returns; needs ``name``. ``mean`` and ``std`` are channel means and
            deviations of the expected input, RGB in [0, 1]; without them timm's own are taken.
    """

    def __init__(self, model: nn.Module, record: dict[str, Any]) -> None:
        frozen: Any = model.eval().requires_grad_(False)
        self._model = frozen
        scale = {
            name: list(record[name] if name in record else self._model.pretrained_cfg[name])
            for name in ("mean", "std")
        }
        self._record = {**record, **scale}
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in scale.values())
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
