"""Packed weights follow the weights that they were made of."""

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.vit import onednn_packed as module
from protoanomalyncd.vit.onednn_conv import fast_conv
from protoanomalyncd.vit.onednn_linear import fast_linear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="a build without oneDNN"
)


def changed_in_place(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.weight.mul_(2)


def loaded(layer: nn.Linear) -> None:
    layer.load_state_dict({"weight": torch.ones(48, 64), "bias": torch.zeros(48)})


def other_data(layer: nn.Linear) -> None:
    layer.weight.data = torch.full((48, 64), 3.0)


def other_parameter(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(torch.full((48, 64), 4.0))


def there_and_back(layer: nn.Linear) -> None:
    """The rounded weight may well come to lie where the other lay."""
    layer.bfloat16().float()


def transposed(layer: nn.Linear) -> None:
    """The same memory, read otherwise."""
    layer.weight.data = layer.weight.data.flatten().view(64, 48).T


@pytest.mark.parametrize(
    "change",
    [changed_in_place, loaded, other_data, other_parameter, there_and_back, transposed],
)
@torch.no_grad()
def test_follows_every_change(change: Callable[[nn.Linear], None]) -> None:
    """Also a second one."""
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 48), torch.randn(3, 64)
    before = fast_linear(layer, x)
    for _ in range(2):
        change(layer)
        found = fast_linear(layer, x)
        expected = F.linear(x, layer.weight, layer.bias)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not torch.equal(before, found)


@torch.no_grad()
def test_is_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not again for further images, of any size."""
    made: list[str] = []
    found = module.operator

    def counted(name: str, dtype: torch.dtype) -> object:
        made.append(name)
        return found(name, dtype)

    monkeypatch.setattr(module, "operator", counted)
    layer, conv = nn.Linear(8, 6), nn.Conv2d(3, 4, 3)
    for size in (5, 9):
        fast_linear(layer, torch.ones(size, 8))
        fast_conv(conv, torch.ones(1, 3, size, size))
    assert made == ["_reorder_linear_weight", "_reorder_convolution_weight"]


@torch.no_grad()
def test_copies_and_ends_with_its_layer() -> None:
    """A copy has its own; nothing outlives its layer; a state holds the weights alone."""
    layer, x = nn.Linear(8, 6), torch.ones(2, 8)
    fast_linear(layer, x)
    assert layer in module._kept
    twin = copy.deepcopy(layer)
    twin.weight.zero_()
    assert torch.equal(fast_linear(twin, x), twin.bias.expand(2, 6))
    assert set(layer.state_dict()) == {"weight", "bias"}
    gone = weakref.ref(twin)
    gc.collect()  # so that only this one goes next
    before = len(module._kept)
    del twin
    gc.collect()
    assert gone() is None
    assert len(module._kept) == before - 1


def test_weights_whose_changes_nobody_counts_stay_plain() -> None:
    """Those that were made in inference mode."""
    x = torch.ones(2, 8)
    with torch.inference_mode():
        layer = nn.Linear(8, 6)
        for value in (1.0, 2.0):
            layer.weight.fill_(value)
            found: Tensor = fast_linear(layer, x)
            torch.testing.assert_close(found, F.linear(x, layer.weight, layer.bias))
    assert layer not in module._kept
