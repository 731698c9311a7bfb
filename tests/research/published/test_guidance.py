"""guidance.py: the mask alone, and an empty one closes every patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from protoanomalyncd.config import EmbeddingConfig
from protoanomalyncd.vit import create_backbone
from protoanomalyncd.vit.guidance import CLOSED
from research.published.guidance import ReferenceEncoder, reference_bias
from tests.tiny import SIDE, network_folder


def test_the_reference_closes_every_patch_of_an_empty_mask() -> None:
    a = torch.tensor([[0.49, 0.2], [0.5, 0.2]])
    assert reference_bias(a).tolist() == [[CLOSED, CLOSED], [0.0, CLOSED]]


def test_the_mask_alone_guides(tmp_path: Path) -> None:
    network = network_folder(tmp_path / "vit", depth=2)
    config = EmbeddingConfig(f"local-dir:{network}", SIDE, patch_weight=0)
    encoder = ReferenceEncoder(create_backbone(config.backbone), config)
    mask, amap = np.zeros((SIDE, SIDE), np.bool_), np.ones((SIDE, SIDE), np.float32)
    mask[:, : SIDE // 2] = True
    values = encoder.guide_values(mask, amap, mask)
    np.testing.assert_array_equal(values, mask.astype(np.float32))
    images = torch.zeros((1, SIDE, SIDE, 3), dtype=torch.uint8)
    bias = encoder.tokens(images, torch.from_numpy(values)[None]).bias[0].reshape(4, 4)
    assert bias.tolist() == [[0.0, 0.0, CLOSED, CLOSED]] * 4
