"""Images as the built-in detectors see them: squares of one size, and their patch descriptors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import ImageArray
from protoanomalyncd.datasets.images import read_image
from protoanomalyncd.vit.base import Backbone
from protoanomalyncd.vit.whole_float32 import whole_float32

__all__ = ["patch_layers", "read_square"]


@torch.inference_mode()
def patch_layers(backbone: Backbone, image: ImageArray, device: torch.device) -> list[Tensor]:
    """uint8 (H, W, 3) -> float32 layers (1, D, h, w) of the backbone's patch descriptors.

    Raises:
        ConfigurationError: the backbone has none.
    """
    batch = torch.from_numpy(image).unsqueeze(0).to(device)
    with whole_float32(batch.device):
        layers = backbone.patch_descriptors(backbone.preprocess(batch))
    if not layers:
        raise ConfigurationError(
            "detector: expected a backbone with feature maps, got one without; choose another one "
            "(--backbone), or give the maps of another detector (--maps)"
        )
    return [layer.float() for layer in layers]


def read_square(path: Path, side: int) -> ImageArray:
    """Image file -> uint8 (side, side, 3), antialiased.

    Raises:
        ImageError: see `read_image`.
    """
    square = Image.fromarray(read_image(path)).resize((side, side), Image.Resampling.BILINEAR)
    return np.array(square, np.uint8)
