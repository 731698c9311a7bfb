"""timm_vit.py against independent attention written out, and against timm itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.vit import Backbone, create_backbone, timm_vit
from protoanomalyncd.vit.guidance import attention_bias
from tests.tiny import network_folder

Make = Callable[..., Backbone]
TOLERANCE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Backbones by their arguments, each written to a folder and read from it."""
    counter = itertools.count()

    def build(**model_args: Any) -> Backbone:
        folder = tmp_path_factory.mktemp("networks") / str(next(counter))
        return create_backbone(f"local-dir:{network_folder(folder, **model_args)}")

    return build


def pictures(height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(2, 3, height, width)


def run(backbone: Backbone, x: Tensor, bias: Tensor, guidance: GuidanceConfig) -> Tensor:
    """Class token after all blocks: frozen part, then tail."""
    tokens = backbone.tokens(x, bias, guidance)
    with torch.no_grad():
        out: Tensor = backbone.tail()(tokens.cls, tokens.patches, tokens.bias)
    return out


def oracle(
    backbone: Backbone,
    x: Tensor,
    bias: Tensor,
    first_guided: int,
    hidden: bool = False,
    strengths: tuple[float, ...] | None = None,
) -> Tensor:
    """The whole transformer written out: one head and one query after the other's softmax.

    The class row of every guided block gets `bias` on the patches, times its own of `strengths`;
    `hidden` closes the class key to all other queries.
    """
    model: Any = backbone.module()
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(x))
        n_prefix, n_tokens = model.num_prefix_tokens, tokens.shape[1]
        for number, block in enumerate(model.blocks):
            mask = torch.zeros(len(x), n_tokens, n_tokens)
            if number >= first_guided:
                own_strength = strengths[number - first_guided] if strengths else 1.0
                mask[:, 0, n_prefix:] = own_strength * bias
            if hidden:
                mask[:, 1:, 0] = -torch.inf
            normed, attn = block.norm1(tokens), block.attn
            q, k, v = attn.qkv(normed).chunk(3, dim=-1)
            width = q.shape[-1] // attn.num_heads
            heads = []
            for h in range(attn.num_heads):
                own = slice(h * width, (h + 1) * width)
                q_h, k_h = attn.q_norm(q[..., own]), attn.k_norm(k[..., own])
                logits = torch.einsum("bqd,bkd->bqk", q_h, k_h) / width**0.5 + mask
                heads.append(torch.softmax(logits, dim=-1) @ v[..., own])
            tokens = tokens + block.ls1(attn.proj(torch.cat(heads, dim=-1)))
            tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
        out: Tensor = model.norm(tokens)[:, 0]
    return out


def test_unguided_equals_timm(make: Make) -> None:
    backbone, x = make(), pictures()
    model: Any = backbone.module()
    found = run(backbone, x, torch.zeros(2, 16), GuidanceConfig(mode="none"))
    with torch.no_grad():
        torch.testing.assert_close(found, model.forward_features(x)[:, 0], **TOLERANCE)


@pytest.mark.parametrize("registers", [0, 2])
def test_hard_guidance_equals_the_rule_of_anomalyncd(make: Make, registers: int) -> None:
    """M = 0 where the pooled mask is at least .5, else -1e9, in the last 9 of 12 blocks."""
    backbone, x = make(depth=12, reg_tokens=registers), pictures()
    pooled = torch.rand(2, 16)
    guidance = GuidanceConfig(mode="hard", share_of_blocks=0.75)
    rule = torch.where(pooled >= 0.5, 0.0, -1e9)
    found = run(backbone, x, attention_bias(pooled, None, guidance), guidance)
    torch.testing.assert_close(found, oracle(backbone, x, rule, first_guided=3), **TOLERANCE)
    elsewhere = oracle(backbone, x, rule, first_guided=0)
    assert not torch.allclose(found, elsewhere, atol=1e-2)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_soft_guidance_equals_the_oracle(
    make: Make, hidden: bool, registers: int, share: float
) -> None:
    backbone, x, bias = make(reg_tokens=registers), pictures(), 4 * torch.rand(2, 16)
    guidance = GuidanceConfig(share_of_blocks=share, hide_class_key=hidden)
    first = {1.0: 0, 0.5: 3, 0.01: 5}[share]
    expected = oracle(backbone, x, bias, first, hidden)
    torch.testing.assert_close(run(backbone, x, bias, guidance), expected, **TOLERANCE)


def test_a_hidden_class_key_makes_patch_tokens_independent_of_the_guidance(make: Make) -> None:
    backbone, x = make(), pictures()
    hidden, visible = GuidanceConfig(hide_class_key=True), GuidanceConfig(hide_class_key=False)
    biases = [torch.zeros(2, 16), 4 * torch.rand(2, 16)]
    first, second = (backbone.tokens(x, bias, hidden).patches for bias in biases)
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    first, second = (backbone.tokens(x, bias, visible).patches for bias in biases)
    assert not torch.allclose(first, second, atol=1e-3)


def test_the_class_key_is_visible_unless_the_backbone_was_trained_without(make: Make) -> None:
    backbone, x, bias = make(), pictures(), torch.rand(2, 16)
    by_default = run(backbone, x, bias, GuidanceConfig())
    visible = run(backbone, x, bias, GuidanceConfig(hide_class_key=False))
    torch.testing.assert_close(by_default, visible, atol=0, rtol=0)


@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
def test_grids_need_not_be_square(make: Make, size: tuple[int, int]) -> None:
    backbone, x = make(), pictures(*size)
    bias = torch.rand(2, size[0] * size[1] // 256)
    found = run(backbone, x, bias, GuidanceConfig())
    torch.testing.assert_close(found, oracle(backbone, x, bias, 0), **TOLERANCE)
    rows, columns = size[0] // 16, size[1] // 16
    maps = backbone.patch_descriptors(x)
    assert [tuple(m.shape) for m in maps] == [(2, 64, rows, columns)] * 3


def test_layer_scale_and_normalised_queries_are_honoured(make: Make) -> None:
    backbone, x, bias = make(init_values=0.5, qk_norm=True), pictures(), torch.rand(2, 16)
    found = run(backbone, x, bias, GuidanceConfig())
    torch.testing.assert_close(found, oracle(backbone, x, bias, 0), **TOLERANCE)


def test_tokens_carry_no_gradient_and_the_tail_does(make: Make) -> None:
    backbone = make()
    tokens = backbone.tokens(pictures(), torch.rand(2, 16), GuidanceConfig())
    assert not tokens.patches.requires_grad
    tail = backbone.tail()
    tail(tokens.cls, tokens.patches, tokens.bias).sum().backward()
    assert all(p.grad is not None for p in tail.parameters())
    assert all(not p.requires_grad for p in backbone.module().parameters())


def test_training_the_tail_leaves_the_frozen_network_alone(make: Make) -> None:
    backbone = make()
    before = {k: v.clone() for k, v in backbone.module().state_dict().items()}
    with torch.no_grad():
        for parameter in backbone.tail().parameters():
            parameter.add_(1)
    for name, value in backbone.module().state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


def test_the_folder_says_how_images_are_normalised(make: Make) -> None:
    images = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    images[..., 1] = 255
    found = make().preprocess(images)[0, :, 0, 0]
    expected = [-0.4 / 0.2, (1 - 0.5) / 0.25, -0.6 / 0.3]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_network_without_class_token_is_refused(tmp_path: Path) -> None:
    folder = network_folder(tmp_path / "n", class_token=False, global_pool="avg")
    with pytest.raises(ConfigurationError, match="expected a timm VisionTransformer with a class"):
        create_backbone(f"local-dir:{folder}")


def test_many_tokens_give_what_few_tokens_give(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of tokens the attention weights are not held in memory."""
    backbone, x, bias = make(), pictures(), 4 * torch.rand(2, 16)
    written_out = run(backbone, x, bias, GuidanceConfig(hide_class_key=False))
    monkeypatch.setattr(timm_vit, "_WRITTEN_OUT", 1)
    fused = run(backbone, x, bias, GuidanceConfig(hide_class_key=False))
    torch.testing.assert_close(fused, written_out, **TOLERANCE)


def test_unguided_blocks_of_the_embedded_network_are_its_own() -> None:
    backbone = create_backbone("embedded")
    x, model = backbone.preprocess(torch.randint(0, 256, (1, 64, 64, 3))), backbone.module()
    n_patches = (64 // backbone.patch_size) ** 2
    guidance = GuidanceConfig(share_of_blocks=0.01, hide_class_key=False)
    found = backbone.tokens(x, torch.rand(1, n_patches), guidance)
    with torch.no_grad():
        expected = model.norm_pre(model._pos_embed(model.patch_embed(x)))  # type: ignore
        for block in model.blocks[:-1]:  # type: ignore
            expected = block(expected)
    torch.testing.assert_close(found.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)
