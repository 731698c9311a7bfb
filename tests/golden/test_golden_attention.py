"""`research.published.guidance` against AnomalyNCD's own mask-guided transformer.

``attention.json`` names repository, commit, file and function; ``make_attention.py`` wrote it.
The last 9 of 12 blocks are guided, and the class token's own key is always open.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.vit.guidance import attention_bias, pool_to_grid
from protoanomalyncd.vit.timm_vit import ViTBackbone
from research.published.guidance import reference_bias
from tests.golden.golden_attention import MASKS, SHAPE, fill, picture

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "attention.json").read_text())


@pytest.fixture(scope="module")
def backbone() -> ViTBackbone:
    model = VisionTransformer(
        img_size=SHAPE["side"],
        patch_size=SHAPE["patch"],
        embed_dim=SHAPE["width"],
        depth=SHAPE["depth"],
        num_heads=SHAPE["heads"],
        mlp_ratio=SHAPE["mlp_ratio"],
        num_classes=0,
    )
    fill(model)
    record = {"name": "golden", "architecture": "golden", "mean": [0.0] * 3, "std": [1.0] * 3}
    return ViTBackbone(model, record)


def class_tokens(
    backbone: ViTBackbone, guidance: GuidanceConfig, bias_of: Callable[[Tensor], Tensor]
) -> Tensor:
    masks = torch.stack([mask() for mask in MASKS.values()])
    images = torch.stack([picture(i).float() for i in range(len(masks))])
    grid = SHAPE["side"] // SHAPE["patch"]
    bias = bias_of(pool_to_grid(masks, (grid, grid)))
    tokens = backbone.tokens(images, bias, guidance)
    with torch.no_grad():
        found: Tensor = backbone.tail()(tokens.cls, tokens.patches, tokens.bias)
    return found


def test_the_file_names_its_origin_and_the_masks() -> None:
    assert set(GOLDEN["origin"]) == {"repository", "commit", "file", "function"}
    assert GOLDEN["masks"] == list(MASKS)


def test_the_reference_mode_is_the_references_attention(backbone: ViTBackbone) -> None:
    guidance = GuidanceConfig(share_of_blocks=0.75, hide_class_key=False)
    expected = torch.tensor(GOLDEN["class_tokens"])
    found = class_tokens(backbone, guidance, reference_bias)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("other", "bias_of"),
    [
        (GuidanceConfig(share_of_blocks=1.0, hide_class_key=False), reference_bias),
        (GuidanceConfig(share_of_blocks=0.75, hide_class_key=True), reference_bias),
        (GuidanceConfig(hide_class_key=False), torch.zeros_like),
    ],
)
def test_no_other_guidance_gives_the_same(
    backbone: ViTBackbone, other: GuidanceConfig, bias_of: Callable[[Tensor], Tensor]
) -> None:
    expected = torch.tensor(GOLDEN["class_tokens"])
    difference = (class_tokens(backbone, other, bias_of) - expected).abs().amax(dim=1)
    assert bool((difference[:2] > 1e-3).all())


def test_ours_differs_where_no_patch_is_half_covered(backbone: ViTBackbone) -> None:
    hard = GuidanceConfig(mode="hard", share_of_blocks=0.75, hide_class_key=False)
    found = class_tokens(backbone, hard, lambda pooled: attention_bias(pooled, None, hard))
    difference = found - torch.tensor(GOLDEN["class_tokens"])
    names = {
        name for name, row in zip(MASKS, difference.abs().amax(dim=1), strict=True) if row > 1e-3
    }
    assert names == {"less than half of every patch", "empty"}
