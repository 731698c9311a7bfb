"""Which operators there are, and when they may be called."""

import pytest
import torch
from torch import Tensor, nn

from protoanomalyncd.vit import onednn
from protoanomalyncd.vit.onednn import (
    is_plain_inference,
    is_untraced_inference,
    operator,
    unhooked,
)
from protoanomalyncd.vit.onednn_conv import fast_conv
from protoanomalyncd.vit.onednn_linear import fast_linear
from protoanomalyncd.vit.packed_blocks import can_pack

NAMES = [("_linear_pointwise", "default"), ("_convolution_pointwise", "binary")]

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="a build without oneDNN"
)


@needs_onednn
@pytest.mark.parametrize(("name", "overload"), NAMES)
def test_finds_operators_by_name_and_overload(name: str, overload: str) -> None:
    """Only those that there are, in the types that it knows."""
    assert operator(name, torch.float32, overload) is not None
    assert operator(name, torch.float64, overload) is None
    assert operator(name, torch.float16, overload) is None
    assert operator("_no_such_operator", torch.float32) is None
    assert operator(name, torch.float32, "no_such_overload") is None


@pytest.mark.parametrize("supported", [True, False])
def test_half_precision_needs_its_instructions(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32 does not."""
    everywhere = operator("_linear_pointwise", torch.float32)
    monkeypatch.setattr(onednn, "_has_bfloat16", lambda: supported)
    found = operator("_linear_pointwise", torch.bfloat16)
    assert found is (everywhere if supported else None)
    assert operator("_linear_pointwise", torch.float32) is everywhere


@needs_onednn
@torch.no_grad()
def test_follows_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found once is not kept when oneDNN is switched off, or gone."""
    x, layer, conv = torch.randn(3, 8), nn.Linear(8, 6), nn.Conv2d(3, 4, 3)
    assert operator("_linear_pointwise", torch.float32) is not None
    assert can_pack(x, torch.float32)
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.mkldnn, "enabled", False)
        assert operator("_linear_pointwise", torch.float32) is None
        assert not can_pack(x, torch.float32)
        assert torch.equal(fast_linear(layer, x), layer(x))
        image = torch.randn(1, 3, 6, 6)
        assert torch.equal(fast_conv(conv, image), conv(image))
    assert operator("_linear_pointwise", torch.float32) is not None
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert operator("_linear_pointwise", torch.float32) is None


def test_plain_inference() -> None:
    """Neither gradients, nor autocast, nor other devices, nor empty or derived tensors."""

    class Derived(Tensor):
        pass

    x = torch.ones(2, 3)
    assert not is_untraced_inference(x)  # gradients are on
    with torch.no_grad():
        assert is_untraced_inference(x)
        assert is_plain_inference(x)
        assert is_plain_inference(nn.Parameter(x))
        assert not is_untraced_inference(x.to("meta"))
        assert not is_plain_inference(x[:0])
        assert not is_plain_inference(x.as_subclass(Derived))
        with torch.autocast("cpu", torch.bfloat16):
            assert is_untraced_inference(x)
            assert not is_plain_inference(x)


def test_hooks_are_seen() -> None:
    """Before and after the call."""
    layer = nn.Linear(2, 2)
    assert unhooked(layer)
    handle = layer.register_forward_pre_hook(lambda *_: None)
    assert not unhooked(layer)
    handle.remove()
    layer.register_forward_hook(lambda *_: None)
    assert not unhooked(layer)
