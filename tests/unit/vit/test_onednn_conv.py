"""The convolution with its sum and rectification in one pass is the ordinary three."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.vit import onednn_conv as module
from protoanomalyncd.vit.onednn_conv import fast_conv


def plain(conv: nn.Conv2d, x: Tensor, relu: bool, residual: Tensor | None) -> Tensor:
    """Three steps."""
    y = conv(x)
    y = y if residual is None else y + residual
    return F.relu(y) if relu else y


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("relu", [True, False])
@torch.no_grad()
def test_equals_three_steps(
    kernel: int, stride: int, relu: bool, memory: torch.memory_format
) -> None:
    """With and without a residual, which is left as it was."""
    torch.manual_seed(3)
    conv = nn.Conv2d(3, 8, kernel, stride, kernel // 2)
    x = torch.randn(2, 3, 10, 14).contiguous(memory_format=memory)
    residual = torch.randn(conv(x).shape).contiguous(memory_format=memory)
    kept = residual.clone()
    for added in (None, residual):
        expected = plain(conv, x, relu, added)
        torch.testing.assert_close(fast_conv(conv, x, relu, added), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(residual, kept)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("relu", [True, False])
@torch.no_grad()
def test_half_precision(relu: bool, memory: torch.memory_format) -> None:
    """Within its rounding, in every order of memory."""
    torch.manual_seed(3)
    conv = nn.Conv2d(8, 8, 3, 1, 1).bfloat16()
    x, residual = torch.randn(2, 2, 8, 10, 14).bfloat16().unbind()
    x, residual = (t.contiguous(memory_format=memory) for t in (x, residual))
    for added in (None, residual):
        found = fast_conv(conv, x, relu, added)
        torch.testing.assert_close(found, plain(conv, x, relu, added), rtol=2e-2, atol=2e-2)


@torch.no_grad()
def test_an_image_is_the_same_in_any_company() -> None:
    """One image gives the same bits as several."""
    torch.manual_seed(3)
    conv, x = nn.Conv2d(3, 16, 3, 1, 1), torch.randn(5, 3, 12, 12)
    together = fast_conv(conv, x, relu=True)
    for count in range(1, 5):
        assert torch.equal(fast_conv(conv, x[:count], relu=True), together[:count])


def test_steps_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients and hooks take the ordinary path."""

    def refuse(*_: object) -> None:
        raise AssertionError("the operator was called")

    monkeypatch.setattr(module, "operator", lambda *_: refuse)
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 6, 6)
    assert fast_conv(conv, x).requires_grad
    with torch.no_grad():
        with pytest.raises(AssertionError, match="was called"):
            fast_conv(conv, x)
        seen: list[object] = []
        conv.register_forward_hook(lambda *_: seen.append(1))
        fast_conv(conv, x, relu=True)
    assert seen == [1]
