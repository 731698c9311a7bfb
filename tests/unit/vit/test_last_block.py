"""The last block for the class token alone, and guidance that leaves the patch rows their kernel.

The two savings of `ViTTail` and `ViTBackbone.tokens`, checked on a timm ViT and on the embedded
network: same numbers as the whole, masked block, and less work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.vit import Backbone, create_backbone
from tests.tiny import network_folder

KINDS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"reg_tokens": 2},
    "scaled": {"init_values": 0.5, "qk_norm": True},
}


def class_row_mask(bias: Tensor, n_prefix: int) -> Tensor:
    """Mask (B, 1, N, N) of a timm block whose class row alone has logits: those of the patches."""
    n_others = n_prefix + bias.shape[1] - 1
    return torch.nn.functional.pad(bias[:, None, None, :], (n_prefix, 0, 0, n_others))


@pytest.fixture(scope="module", params=["embedded", *KINDS])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    if request.param == "embedded":
        return create_backbone("embedded")
    folder = tmp_path_factory.mktemp("networks") / "n"
    return create_backbone(f"local-dir:{network_folder(folder, **KINDS[request.param])}")


def inputs(side: int = 96) -> tuple[Tensor, Tensor]:
    """Pictures and logits of their patches."""
    return torch.randn(2, 3, side, side), 4 * torch.rand(2, (side // 16) ** 2) - 1


def whole_last_block(backbone: Backbone, x: Tensor, bias: Tensor) -> Tensor:
    """Class token of timm's own last block on all tokens, under a mask for all rows, normed."""
    model: Any = backbone.module()
    tokens = backbone.tokens(x, bias, GuidanceConfig())
    everything = torch.cat([tokens.cls[:, None], tokens.patches], dim=1)
    mask = class_row_mask(tokens.bias, 1)
    out: Tensor = model.norm(model.blocks[-1](everything, attn_mask=mask))[:, 0]
    return out


@pytest.mark.parametrize("bias_of", ["soft", "hard", "none"])
@torch.no_grad()
def test_the_class_token_alone_equals_the_whole_block(backbone: Backbone, bias_of: str) -> None:
    x, bias = inputs()
    if bias_of == "hard":
        bias = torch.where(bias > 1, 0.0, -1e9)
    elif bias_of == "none":
        bias = torch.zeros_like(bias)
    tokens = backbone.tokens(x, bias, GuidanceConfig())
    found = backbone.tail()(tokens.cls, tokens.patches, tokens.bias)
    expected = whole_last_block(backbone, x, bias)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_only_one_query_projection_and_mlp_are_computed(backbone: Backbone) -> None:
    """Keys and values of all tokens remain: 2 of the 4 + 2 r products of a block, r the MLP's."""
    x, bias = inputs()
    model, tail = backbone.module(), backbone.tail()
    block: Any = model.blocks[-1]
    tokens = backbone.tokens(x, bias, GuidanceConfig())
    everything = torch.cat([tokens.cls[:, None], tokens.patches], dim=1)
    with FlopCounterMode(display=False) as whole:
        block(everything)
    with FlopCounterMode(display=False) as alone:
        tail(tokens.cls, tokens.patches, tokens.bias)
    ratio = block.mlp.fc1.out_features / block.mlp.fc1.in_features
    share = alone.get_total_flops() / whole.get_total_flops()
    n_tokens = tokens.patches.shape[1]
    assert share < 2 / (4 + 2 * ratio) + 2 / n_tokens


@torch.no_grad()
def test_a_seen_class_key_is_guided_as_timm_does_it(backbone: Backbone) -> None:
    """Rows apart equal every block under one mask for all rows."""
    if backbone.name == "embedded":
        pytest.skip("its blocks hide the class key whatever they are told")
    x, bias = inputs()
    model: Any = backbone.module()
    guidance = GuidanceConfig(hide_class_key=False, share_of_blocks=0.5)
    found = backbone.tokens(x, bias, guidance)
    expected = model._pos_embed(model.patch_embed(x))
    mask = class_row_mask(bias, model.num_prefix_tokens)
    for number, block in enumerate(model.blocks[:-1]):
        expected = block(expected, attn_mask=mask if number >= len(model.blocks) // 2 else None)
    torch.testing.assert_close(found.cls, expected[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.patches, expected[:, 1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hidden", [False, True])
@torch.no_grad()
def test_no_mask_reaches_the_patch_rows(
    backbone: Backbone, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mask for all rows, of which one is non-zero, would take the fast kernel from them."""
    fused, masks = torch.nn.functional.scaled_dot_product_attention, []

    def watched(*tensors: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
        masks.append(attn_mask)
        return fused(*tensors, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    x, bias = inputs()
    backbone.tokens(x, bias, GuidanceConfig(hide_class_key=hidden))
    assert not any(mask is not None for mask in masks)


@pytest.mark.parametrize("hidden", [False, True])
@torch.no_grad()
def test_guidance_adds_next_to_no_arithmetic(backbone: Backbone, hidden: bool) -> None:
    """Its overhead in time is measured by ``make bench-export``; here the products are counted."""
    if backbone.name == "embedded" and not hidden:
        pytest.skip("its blocks hide the class key whatever they are told")
    x, bias = inputs(192)
    model: Any = backbone.module()
    with FlopCounterMode(display=False) as guided:
        backbone.tokens(x, bias, GuidanceConfig(hide_class_key=hidden))
    with FlopCounterMode(display=False) as unguided:
        every = model._pos_embed(model.patch_embed(x))
        for block in model.blocks[:-1]:
            every = block(every)
    assert guided.get_total_flops() <= 1.1 * unguided.get_total_flops()
