"""The quick linear layer is the ordinary one, and steps aside wherever it must."""

import pytest
import torch
import torch.nn.functional as F
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from protoanomalyncd.vit import onednn_linear as module
from protoanomalyncd.vit.onednn_linear import fast_linear, fast_mlp, linear


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Reproducible random numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)).to(dtype)


@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
@pytest.mark.parametrize("shape", [(1, 8), (3, 8), (2, 5, 8), (1, 1, 8), (2, 0, 8)])
@torch.no_grad()
def test_equals_the_ordinary_layer(shape: tuple[int, ...], gelu: str | None) -> None:
    """Within float32, of every shape, also of a part of the rows."""
    layer, x = nn.Linear(8, 6), numbers(*shape)
    expected = layer(x) if gelu is None else F.gelu(layer(x), approximate=gelu)
    found = fast_linear(layer, x, gelu)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    halves = linear(x[..., ::2], layer.weight[2:, ::2], None)
    torch.testing.assert_close(halves, F.linear(x[..., ::2], layer.weight[2:, ::2]))


@torch.no_grad()
def test_a_row_is_the_same_in_any_company() -> None:
    """One image gives the same bits as many."""
    layer = nn.Linear(64, 48)
    for rows in (1, 2, 3, 5, 17):
        x = numbers(6, rows, 64)
        together = fast_linear(layer, x)
        for count in range(1, 6):
            assert torch.equal(fast_linear(layer, x[:count]), together[:count])


def test_steps_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients, autocast, hooks and derived layers take the ordinary path."""

    def refuse(*_: object) -> None:
        raise AssertionError("the operator was called")

    monkeypatch.setattr(module, "operator", lambda *_: refuse)
    layer, x = nn.Linear(8, 6), numbers(3, 8)
    assert fast_linear(layer, x).requires_grad
    with torch.no_grad():
        with pytest.raises(AssertionError, match="was called"):
            fast_linear(layer, x)
        with torch.autocast("cpu", torch.bfloat16):
            assert fast_linear(layer, x).dtype == torch.bfloat16
        assert fast_linear(nn.Sequential(layer), x).shape == (3, 6)
        seen: list[object] = []
        layer.register_forward_hook(lambda *_: seen.append(1))
        fast_linear(layer, x)
        assert seen == [1]


@torch.no_grad()
def test_mlp() -> None:
    """timm's, and one that it does not know."""
    x = numbers(2, 5, 8)
    for mlp in (Mlp(8, 16).eval(), Mlp(8, 16, norm_layer=nn.LayerNorm).eval(), nn.Linear(8, 8)):
        torch.testing.assert_close(fast_mlp(mlp, x), mlp(x), rtol=1e-5, atol=1e-6)
    rectified = Mlp(8, 16, act_layer=nn.ReLU).eval()
    torch.testing.assert_close(fast_mlp(rectified, x), rectified(x))


def test_export() -> None:
    """A traced graph holds the ordinary operator."""

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            return fast_linear(self.layer, x)

    with torch.no_grad():
        program = torch.export.export(Wrapped(), (numbers(3, 8),))
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert names == {"aten.linear.default"}
