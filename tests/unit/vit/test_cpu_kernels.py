"""oneDNN's operators are the plain layers, follow their weights, and step aside wherever needed."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers.format import Format
from timm.layers.mlp import Mlp
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.vit import Backbone, cpu_kernels, create_backbone
from protoanomalyncd.vit.cpu_kernels import fast_conv, fast_linear, fast_mlp, fast_patches
from tests.tiny import network_folder

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="a build without oneDNN"
)
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
TYPES = pytest.mark.parametrize("dtype", CLOSE, ids=str)
MEMORY = pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def within(dtype: torch.dtype) -> Any:
    """Autocast in bfloat16, without its own memory of weights (it is not renewed), or none."""
    half = dtype == torch.bfloat16
    return torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False)


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(found, expected, rtol=CLOSE[dtype], atol=CLOSE[dtype])


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Private operators that are called, by name."""
    names: list[str] = []
    real = torch.ops.mkldnn

    class Spy:
        def __init__(self, name: str, operator: Any) -> None:
            self._name, self._operator = name, operator

        def __call__(self, *given: Any) -> Any:
            if self._name != "_is_mkldnn_bf16_supported":
                names.append(self._name)
            return self._operator(*given)

        def __getattr__(self, overload: str) -> Any:
            return Spy(self._name, getattr(self._operator, overload))

    class Operators:
        def __getattr__(self, name: str) -> Any:
            return Spy(name, getattr(real, name))

    fake = SimpleNamespace(ops=SimpleNamespace(mkldnn=Operators()))
    monkeypatch.setattr(cpu_kernels, "torch", _Torch(fake))
    return names


class _Torch:
    """torch with operators of one's own."""

    def __init__(self, changed: SimpleNamespace) -> None:
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._changed, name, None) or getattr(torch, name)


@needs_onednn
@torch.no_grad()
def test_the_private_operators_are_as_they_were_pinned() -> None:
    """Their names, their arguments, and that they give the plain layer's result."""
    x, layer, conv = numbers(3, 8), nn.Linear(8, 6), nn.Conv2d(3, 4, 3, 2, 1)
    image, geometry = numbers(1, 3, 8, 8), ((1, 1), (2, 2), (1, 1), 1)
    operators = torch.ops.mkldnn
    assert isinstance(operators._is_mkldnn_bf16_supported(), bool)
    assert isinstance(layer.weight._version, int)
    packed = operators._reorder_linear_weight(layer.weight.detach())
    for gelu in ("none", "tanh"):
        found = operators._linear_pointwise.default(x, packed, layer.bias, "gelu", [], gelu)
        close(found, F.gelu(layer(x), approximate=gelu), torch.float32)
    found = operators._linear_pointwise.default(x, packed, None, "none", [], "")
    close(found, x @ layer.weight.T, torch.float32)
    weight = operators._reorder_convolution_weight(conv.weight.detach(), *geometry)
    parts = (weight, conv.bias, *geometry)
    convolution = operators._convolution_pointwise
    close(convolution.default(image, *parts, "relu", [], ""), conv(image).relu(), torch.float32)
    residual = numbers(1, 4, 4, 4)
    found = convolution.binary(image, residual, *parts, "add", 1.0, "relu", [], "")
    close(found, (conv(image) + residual).relu(), torch.float32)


@TYPES
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
@pytest.mark.parametrize("shape", [(1, 8), (3, 8), (2, 5, 8), (1, 1, 8), (8,), (2, 0, 8)])
@torch.no_grad()
def test_a_linear_layer_is_the_plain_one(
    shape: tuple[int, ...], gelu: str | None, bias: bool, dtype: torch.dtype
) -> None:
    layer, x = nn.Linear(8, 6, bias=bias), numbers(*shape)
    with within(dtype):
        expected = layer(x) if gelu is None else F.gelu(layer(x), approximate=gelu)
        close(fast_linear(layer, x, gelu), expected, dtype)


@TYPES
@torch.no_grad()
def test_a_row_is_the_same_in_any_company(dtype: torch.dtype) -> None:
    layer, x = nn.Linear(64, 48), numbers(18, 64)
    with within(dtype):
        together = fast_linear(layer, x)
        for count in (1, 2, 3, 5, 17):
            assert torch.equal(fast_linear(layer, x[:count]), together[:count])


@torch.no_grad()
def test_threads_do_not_matter() -> None:
    layer, x, before = nn.Linear(64, 48), numbers(197, 64), torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found.append(fast_linear(layer, x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@TYPES
@torch.no_grad()
def test_mlp(dtype: torch.dtype) -> None:
    """timm's, and those that it does not know."""
    x = numbers(2, 5, 8)
    known = (Mlp(8, 16), Mlp(8, 16, norm_layer=nn.LayerNorm), Mlp(8, 16, act_layer=nn.ReLU))
    for mlp in (*known, nn.Linear(8, 8)):
        with within(dtype):
            close(fast_mlp(mlp.eval(), x), mlp(x), dtype)


@TYPES
@MEMORY
@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("relu", [True, False])
@torch.no_grad()
def test_a_convolution_is_three_plain_steps(
    kernel: int, stride: int, relu: bool, memory: torch.memory_format, dtype: torch.dtype
) -> None:
    """With and without a residual, which is left as it was."""
    conv = nn.Conv2d(3, 8, kernel, stride, kernel // 2)
    x = numbers(2, 3, 10, 14).contiguous(memory_format=memory)
    with within(dtype):
        plain = conv(x)
        residual = numbers(*plain.shape).to(dtype).contiguous(memory_format=memory)
        kept = residual.clone()
        for added in (None, residual):
            expected = plain if added is None else plain + added
            expected = expected.relu() if relu else expected
            close(fast_conv(conv, x, relu, added), expected, dtype)
    assert torch.equal(residual, kept)


@torch.no_grad()
def test_an_image_is_the_same_in_any_company() -> None:
    conv, x = nn.Conv2d(3, 16, 3, 1, 1), numbers(5, 3, 12, 12)
    together = fast_conv(conv, x, relu=True)
    for count in range(1, 5):
        assert torch.equal(fast_conv(conv, x[:count], relu=True), together[:count])


@TYPES
@pytest.mark.parametrize("norm", [None, nn.LayerNorm])
@pytest.mark.parametrize("padded", [True, False])
@torch.no_grad()
def test_patches_are_the_plain_embedding(norm: Any, padded: bool, dtype: torch.dtype) -> None:
    """Padded ones are left to it."""
    options: dict[str, Any] = {"norm_layer": norm, "flatten": False, "output_fmt": Format.NHWC}
    sides: Any = (4, 2)
    embed = PatchEmbed(None, sides, 3, 8, **options, dynamic_img_pad=padded)
    x = numbers(2, 3, 13, 11) if padded else numbers(2, 3, 12, 10)
    with within(dtype):
        close(fast_patches(embed, x), embed(x), dtype)


def _scaled(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.mul_(2)


def _in_inference_mode(layer: nn.Module) -> None:
    with torch.inference_mode():
        _scaled(layer)


def _state(layer: nn.Module) -> dict[str, Tensor]:
    return {name: value + 1 for name, value in layer.state_dict().items()}


def _loaded(layer: nn.Module) -> None:
    layer.load_state_dict(_state(layer))


def _assigned(layer: nn.Module) -> None:
    layer.load_state_dict(_state(layer), assign=True)


def _other_data(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.data = parameter.data + 3


def _other_parameters(layer: nn.Module) -> None:
    for name, parameter in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(parameter + 4))


def _there_and_back(layer: nn.Module) -> None:
    """The rounded weight may well come to lie where the other lay."""
    layer.bfloat16().float()


def _bias_alone(layer: nn.Module) -> None:
    bias: Any = layer.bias
    bias.add_(1)


CHANGES = [
    _scaled,
    _in_inference_mode,
    _loaded,
    _assigned,
    _other_data,
    _other_parameters,
    _there_and_back,
    _bias_alone,
]


@TYPES
@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_packed_weights_follow_every_change(
    change: Callable[[nn.Module], None], dtype: torch.dtype
) -> None:
    """Also a second one."""
    linear, conv, image = nn.Linear(64, 48), nn.Conv2d(3, 8, 3, 1, 1), numbers(1, 3, 6, 6)
    x = numbers(3, 64)
    with within(dtype):
        fast_linear(linear, x), fast_conv(conv, image)
        for _ in range(2):
            change(linear)
            change(conv)
            close(fast_linear(linear, x), linear(x), dtype)
            close(fast_conv(conv, image), conv(image), dtype)


@torch.no_grad()
def test_the_same_memory_read_otherwise() -> None:
    layer, x = nn.Linear(64, 48), numbers(3, 64)
    fast_linear(layer, x)
    layer.weight.data = layer.weight.data.flatten().view(64, 48).T
    close(fast_linear(layer, x), layer(x), torch.float32)


@needs_onednn
@torch.no_grad()
def test_weights_are_packed_once(called: list[str]) -> None:
    """Not again for further images, of any size."""
    layer, conv = nn.Linear(8, 6), nn.Conv2d(3, 4, 3)
    for size in (5, 9):
        fast_linear(layer, torch.ones(size, 8))
        fast_conv(conv, torch.ones(1, 3, size, size))
    assert called.count("_reorder_linear_weight") == 1
    assert called.count("_reorder_convolution_weight") == 1
    assert called.count("_linear_pointwise") == called.count("_convolution_pointwise") == 2


@needs_onednn
@torch.no_grad()
def test_copies_and_ends_with_its_layer() -> None:
    """A copy has its own; nothing outlives its layer; a state holds the weights alone."""
    layer, x = nn.Linear(8, 6), torch.ones(2, 8)
    fast_linear(layer, x)
    assert layer in cpu_kernels._kept
    twin = copy.deepcopy(layer)
    twin.weight.zero_()
    assert torch.equal(fast_linear(twin, x), twin.bias.expand(2, 6))
    assert set(layer.state_dict()) == {"weight", "bias"}
    gone = weakref.ref(twin)
    gc.collect()  # so that only this one goes next
    before = len(cpu_kernels._kept)
    del twin
    gc.collect()
    assert gone() is None
    assert len(cpu_kernels._kept) == before - 1


def test_weights_whose_changes_nobody_counts_stay_plain() -> None:
    """Those that were made in inference mode."""
    x = torch.ones(2, 8)
    with torch.inference_mode():
        layer = nn.Linear(8, 6)
        for value in (1.0, 2.0):
            layer.weight.fill_(value)
            assert torch.equal(fast_linear(layer, x), layer(x))
    assert layer not in cpu_kernels._kept


def _absent(*_: Any) -> Any:
    raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute")


def _changed(*_: Any) -> Any:
    raise TypeError("expected at most 3 arguments")


def _failing(*_: Any) -> Any:
    raise RuntimeError("could not create a primitive")


@pytest.mark.parametrize("failure", [_absent, _changed, _failing])
@pytest.mark.parametrize("name", ["_product", "_convolution", "_packed"])
@torch.no_grad()
def test_any_error_of_the_operators_leaves_the_plain_layer(
    name: str, failure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_kernels, name, failure)
    layer, conv, embed = nn.Linear(8, 6), nn.Conv2d(3, 4, 3), PatchEmbed(8, 4, 3, 8)
    x, image = numbers(3, 8), numbers(1, 3, 8, 8)
    embed.flatten, embed.output_fmt = False, Format.NHWC
    if name != "_convolution":
        assert torch.equal(fast_linear(layer, x, "none"), F.gelu(layer(x)))
        assert torch.equal(fast_patches(embed, image), embed(image))
    if name != "_product":
        assert torch.equal(fast_conv(conv, image, relu=True), conv(image).relu())


def test_the_plain_layers_run_where_operators_do_not_apply(
    called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients, hooks, derived layers and tensors, other types and devices, and the switch."""

    class Derived(nn.Linear):
        pass

    class Marked(Tensor):
        pass

    layer, x = nn.Linear(8, 6), numbers(3, 8)
    assert fast_linear(layer, x).requires_grad
    with torch.no_grad():
        assert fast_linear(layer.to("meta"), x.to("meta")).device.type == "meta"
        layer = nn.Linear(8, 6)
        fast_linear(Derived(8, 6), x)
        fast_linear(nn.Sequential(layer), x)
        fast_linear(layer, x.as_subclass(Marked))
        fast_linear(copy.deepcopy(layer).double(), x.double())
        with torch.autocast("cpu", torch.float16):
            fast_linear(layer, x)
        with pytest.raises(RuntimeError, match="dtype"):  # as the layer says
            fast_linear(layer, x.bfloat16())
        with monkeypatch.context() as patch:
            patch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
            fast_linear(layer, x)
        with monkeypatch.context() as patch:
            patch.setattr(cpu_kernels, "_has_bfloat16", lambda: False)
            with within(torch.bfloat16):
                fast_linear(layer, x)
        seen: list[int] = []
        for hook in (layer.register_forward_hook, layer.register_forward_pre_hook):
            handle = hook(lambda *_: seen.append(1))
            fast_linear(layer, x)
            handle.remove()
        assert seen == [1, 1]
        assert called == []
        if torch.backends.mkldnn.is_available():
            fast_linear(layer, x)
            assert called == ["_reorder_linear_weight", "_linear_pointwise"]


class _Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return fast_linear(self.layer, x)


@torch.no_grad()
def test_graphs_hold_the_plain_operator() -> None:
    program = torch.export.export(_Wrapped(), (numbers(3, 8),))
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert names == {"aten.linear.default"}
    traced = torch.jit.trace(_Wrapped(), numbers(3, 8))
    assert "mkldnn" not in str(traced.inlined_graph)


@pytest.fixture(params=[{}, {"init_values": 0.5, "qk_norm": True}, {"qkv_bias": False}], ids=str)
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    return create_backbone(f"local-dir:{network_folder(tmp_path / 'n', **request.param)}")


@TYPES
@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.5])
@torch.no_grad()
def test_a_network_gives_the_tokens_of_the_plain_one(
    backbone: Backbone,
    dtype: torch.dtype,
    hidden: bool,
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, bias = numbers(2, 3, 64, 64), 4 * torch.rand(2, 16)
    guidance = GuidanceConfig(hide_class_key=hidden, share_of_blocks=share)
    found = []
    for change in (None, "_type"):
        with monkeypatch.context() as patch, within(dtype):
            if change:
                patch.setattr(cpu_kernels, change, lambda *_: None)
            tokens = backbone.tokens(x, bias, guidance)
        found.append(torch.cat([tokens.cls[:, None], tokens.patches], dim=1).float())
    fast, slow = found
    assert (fast - slow).norm() / slow.norm() < CLOSE[dtype]


@torch.no_grad()
def test_a_network_follows_assigned_weights_and_its_copy_has_its_own(backbone: Backbone) -> None:
    x, bias = numbers(1, 3, 64, 64), torch.zeros(1, 16)

    def cls(of: Backbone) -> Tensor:
        return of.tokens(x, bias, GuidanceConfig()).cls

    before, twin = cls(backbone), copy.deepcopy(backbone)
    assert torch.equal(cls(twin), before)
    state = {name: 1.1 * value for name, value in twin.module().state_dict().items()}
    twin.module().load_state_dict(state, assign=True)
    assert not torch.allclose(cls(twin), before)
    assert torch.equal(cls(backbone), before)
    fresh = copy.deepcopy(twin)
    assert torch.equal(cls(fresh), cls(twin))
