"""packed_blocks.py beside the layers that it stands for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.vit import Backbone, create_backbone, packed_blocks
from protoanomalyncd.vit.packed_blocks import FastBlocks, PackedLinear, PackedPatches, can_pack
from tests.tiny import network_folder

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled": {"init_values": 0.5, "qk_norm": True, "reg_tokens": 1},
    "no bias": {"qkv_bias": False},
}
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def packs(dtype: torch.dtype) -> bool:
    with torch.no_grad():
        return can_pack(torch.zeros(1), dtype)


@pytest.fixture(params=list(ROUNDING), ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found: torch.dtype = request.param
    if not packs(found):
        pytest.skip(f"oneDNN has no products in {found} on this processor")
    return found


@pytest.fixture(params=KINDS)
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    folder = network_folder(tmp_path / "network", **KINDS[request.param])
    return create_backbone(f"local-dir:{folder}")


def naive(x: Tensor, layer: nn.Linear, dtype: torch.dtype) -> Tensor:
    """Row by row and column by column, from rounded numbers, in double precision."""
    rounded = x.to(dtype).double().reshape(-1, x.shape[-1])
    weight = layer.weight.to(dtype).double()
    out = torch.empty(len(rounded), len(weight), dtype=torch.float64)
    for r, row in enumerate(rounded):
        for d, column in enumerate(weight):
            out[r, d] = sum(a * b for a, b in zip(row.tolist(), column.tolist(), strict=True))
    if layer.bias is not None:
        out = out + layer.bias.to(dtype).double()
    return out.reshape(*x.shape[:-1], len(weight))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
@torch.no_grad()
def test_a_packed_product_equals_the_loop(dtype: torch.dtype, bias: bool, gelu: bool) -> None:
    layer, x = nn.Linear(12, 7, bias=bias), torch.randn(2, 5, 12)
    expected = naive(x, layer, dtype)
    if gelu:
        expected = 0.5 * expected * (1 + torch.erf(expected / 2**0.5))
    found = PackedLinear(layer.weight, layer.bias, dtype, gelu)(x)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double(), expected, rtol=ROUNDING[dtype], atol=ROUNDING[dtype], check_dtype=False
    )


@torch.no_grad()
def test_a_packed_product_takes_any_number_of_rows(dtype: torch.dtype) -> None:
    layer = nn.Linear(64, 32)
    packed, x = PackedLinear(layer.weight, layer.bias, dtype), torch.randn(300, 64)
    for n in (1, 2, 17, 300):
        expected = nn.functional.linear(
            x[:n].to(dtype), layer.weight.to(dtype), layer.bias.to(dtype)
        )
        torch.testing.assert_close(packed(x[:n]), expected, rtol=1e-2, atol=ROUNDING[dtype])


@torch.no_grad()
def test_windows_side_by_side_are_a_product(dtype: torch.dtype) -> None:
    conv = nn.Conv2d(3, 8, (4, 2), (4, 2))
    x = torch.randn(2, 3, 13, 11)  # the rest at the edge belongs to no window
    found = PackedPatches(conv, dtype)(x)
    expected = conv(x)
    torch.testing.assert_close(found.float(), expected, rtol=3e-2, atol=ROUNDING[dtype])


@torch.no_grad()
def test_a_network_gives_the_same_tokens(
    backbone: Backbone, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, guidance = torch.randn(2, 3, 64, 64), GuidanceConfig()
    bias = 4 * torch.rand(2, 16)

    def tokens(packed: bool) -> Tensor:
        with monkeypatch.context() as patch:
            if not packed:
                patch.setattr(packed_blocks, "operator", lambda *_: None)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                found = backbone.tokens(x, bias, guidance)
        return torch.cat([found.cls[:, None], found.patches], dim=1).float()

    fast, slow = tokens(True), tokens(False)
    apart = (fast - slow).norm() / slow.norm()
    assert apart < {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]


@torch.no_grad()
def test_packed_layers_follow_their_weights(backbone: Backbone) -> None:
    if not packs(torch.float32):
        pytest.skip("no oneDNN")
    x, bias = torch.randn(1, 3, 64, 64), torch.zeros(1, 16)
    before = backbone.tokens(x, bias, GuidanceConfig()).cls
    state = {name: 1.1 * value for name, value in backbone.module().state_dict().items()}
    backbone.module().load_state_dict(state)
    assert not torch.allclose(backbone.tokens(x, bias, GuidanceConfig()).cls, before)


@torch.no_grad()
def test_a_copy_of_a_used_backbone_works(backbone: Backbone) -> None:
    x, bias = torch.randn(1, 3, 64, 64), torch.zeros(1, 16)
    expected = backbone.tokens(x, bias, GuidanceConfig()).cls
    twin = copy.deepcopy(backbone)
    assert torch.equal(twin.tokens(x, bias, GuidanceConfig()).cls, expected)
    # of its own weights, not of the first one's
    for weight in twin.module().parameters():
        weight.mul_(1.1)
    assert torch.equal(backbone.tokens(x, bias, GuidanceConfig()).cls, expected)
    assert not torch.equal(twin.tokens(x, bias, GuidanceConfig()).cls, expected)


def test_what_needs_a_gradient_or_another_device_runs_as_it_is() -> None:
    layers = [nn.Linear(3, 3)]
    fast = FastBlocks(layers)
    assert list(fast.layers_for(torch.zeros(1, 3))) == layers  # gradients are on
    with torch.no_grad():
        assert list(fast.layers_for(torch.zeros(1, 3, device="meta"))) == layers
        assert not can_pack(torch.zeros(1), torch.float16)
