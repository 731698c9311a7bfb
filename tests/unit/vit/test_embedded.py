"""The embedded backbone: class row, any input size, export, timm registration, weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from timm.models.vision_transformer import Block
from torch import Tensor

from protoanomalyncd.vit.class_row import class_row, guided_rows, patch_rows
from protoanomalyncd.vit.embedded import WEIGHTS_DIR, EmbeddedViT
from research.common.pyramid import embed, forward_pyramid


def tiny(seed: int = 0) -> EmbeddedViT:
    """A random network with the default shape."""
    torch.manual_seed(seed)
    model = timm.create_model("protoanomalyncd_embedded")
    assert isinstance(model, EmbeddedViT)
    for name, parameter in model.named_parameters():
        if name in {"cls_token", "pos_embed"} or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def hidden_class_mask(bias: Tensor | None, batch: int, patches: int) -> Tensor:
    """Mask (B, 1, 1+P, 1+P): bias in the class row, class column closed to patches."""
    mask = torch.zeros(batch, 1, patches + 1, patches + 1)
    mask[:, :, 1:, 0] = float("-inf")
    if bias is not None:
        mask[:, 0, 0, 1:] = bias
    return mask


@pytest.fixture
def block() -> Block:
    """A timm block with every part in use."""
    torch.manual_seed(1)
    made = Block(48, 4, qkv_bias=True, qk_norm=True, init_values=0.7).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.mark.parametrize("kind", ["none", "soft", "hard", "closed"])
def test_class_row_equals_masked_block(block: Block, kind: str) -> None:
    """G guidances in one pass equal G passes of timm's own block."""
    torch.manual_seed(2)
    cls, tokens = torch.randn(3, 4, 48), torch.randn(3, 10, 48)
    bias: Tensor | None = {
        "none": None,
        "soft": 4 * torch.rand(3, 4, 10) - 2,
        "hard": torch.zeros(3, 4, 10).masked_fill(torch.rand(3, 4, 10) < 0.6, -1e9),
        "closed": torch.full((3, 4, 10), -1e9),
    }[kind]
    with torch.no_grad():
        rows = class_row(block, cls, tokens, bias)
        together = guided_rows(block, torch.cat([cls, tokens], dim=1), 4, bias)
        both, patches = together[:, :4], together[:, 4:]
        for g in range(4):
            mask = hidden_class_mask(None if bias is None else bias[:, g], 3, 10)
            expected = block(torch.cat([cls[:, g : g + 1], tokens], dim=1), attn_mask=mask)
            torch.testing.assert_close(rows[:, g], expected[:, 0], atol=1e-5, rtol=0)
            torch.testing.assert_close(both[:, g], expected[:, 0], atol=1e-5, rtol=0)
            torch.testing.assert_close(patches, expected[:, 1:], atol=1e-5, rtol=0)
        torch.testing.assert_close(patch_rows(block, tokens), patches, atol=1e-5, rtol=0)


def test_class_row_names_the_expected_shape(block: Block) -> None:
    """A bias of a wrong shape is told in one line."""
    with pytest.raises(
        ValueError, match=r"expected bias \(B, G, P\) = \(2, 3, 10\), got \(2, 10\)"
    ):
        class_row(block, torch.randn(2, 3, 48), torch.randn(2, 10, 48), torch.zeros(2, 10))


def test_forward_features_is_the_unguided_pyramid() -> None:
    """timm's own path, the pyramid and stored tokens agree."""
    model, x = tiny(), torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        features = model.forward_features(x)
        out = forward_pyramid(model, x)
        _, maps = model.forward_intermediates(x, indices=[2, 5])
    assert isinstance(out["cls"], Tensor)
    torch.testing.assert_close(features[:, :1], out["cls"], atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, 1:], model.norm(out["tokens"][-1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        maps[0].flatten(2).transpose(1, 2), out["tokens"][2], atol=1e-5, rtol=0
    )
    torch.testing.assert_close(model(x), embed(model, x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_is_the_class_token_of_all_blocks(dtype: torch.dtype) -> None:
    """Though its last block computes the class row alone."""
    model, x = tiny().to(dtype), torch.randn(2, 3, 48, 80).to(dtype)
    with torch.inference_mode():
        found = model(x)
        expected = model.forward_head(model.forward_features(x))
        masked = model(x, attn_mask=torch.zeros(1, 1, 16, 16, dtype=dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    assert found.shape == (2, model.embed_dim)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(masked, expected, atol=tolerance, rtol=tolerance)


def test_guided_embeddings_share_the_patch_tokens() -> None:
    """Many guidances in one pass, one by one, and through attn_mask."""
    model, x = tiny(), torch.randn(2, 3, 64, 96)
    bias = 3 * torch.randn(2, 3, 24)
    with torch.no_grad():
        together = embed(model, x, bias)
        one = embed(model, x, bias[:, 1])
        masked = model.forward_features(x, attn_mask=hidden_class_mask(bias[:, 1], 2, 24))[:, 0]
    assert together.shape == (2, 3, 256)
    for other in (one, masked):
        torch.testing.assert_close(other, together[:, 1], atol=1e-4, rtol=0)
    assert not torch.allclose(together[:, 0], together[:, 1], atol=1e-2)


@pytest.mark.parametrize("size", [(256, 256), (224, 224), (96, 160), (100, 131), (16, 16)])
def test_any_input_size(size: tuple[int, int]) -> None:
    """Grids round up; sizes that 16 does not divide are padded at the lower right."""
    model, x = tiny(), torch.randn(1, 3, *size)
    rows, columns = -(-size[0] // 16), -(-size[1] // 16)
    with torch.no_grad():
        fine, coarse = model.patch_descriptors(x)
        assert model.forward_features(x).shape == (1, 1 + rows * columns, 256)
    assert fine.shape == (1, 129, 2 * rows, 2 * columns)
    assert coarse.shape == (1, 514, rows, columns)


def test_torch_export_equals_eager() -> None:
    """The exported program gives the eager result, square or not."""
    model = tiny()
    for size in ((64, 64), (48, 80)):
        x = torch.randn(1, 3, *size)
        program = torch.export.export(model, (x,))
        torch.testing.assert_close(program.module()(x), model(x), atol=1e-5, rtol=0)


def test_batch_equals_single() -> None:
    """One image alone gives what it gives in a batch."""
    model, x = tiny(), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(embed(model, x)[1:2], embed(model, x[1:2]), atol=1e-5, rtol=0)


def test_shipped_weights_load_offline() -> None:
    """local-dir and pretrained=True give the same network, half precision, within 16 MB."""
    path = WEIGHTS_DIR / "model.safetensors"
    assert path.stat().st_size <= 16e6
    with safe_open(path, framework="pt") as tensors:
        assert all(tensors.get_slice(k).get_dtype() == "F16" for k in tensors.keys())  # noqa: SIM118
    assert (
        json.loads((WEIGHTS_DIR / "config.json").read_text())["architecture"]
        == "protoanomalyncd_embedded"
    )
    local = timm.create_model(f"local-dir:{WEIGHTS_DIR}", pretrained=True).eval()
    named = timm.create_model("protoanomalyncd_embedded", pretrained=True).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(local(x), named(x))
        assert not torch.allclose(local(x), tiny()(x))


def test_model_card_names_sources_and_limits() -> None:
    """The card that ships with the weights."""
    card = (Path(WEIGHTS_DIR) / "README.md").read_text()
    for word in (
        "MTD",
        "NEU-Seg",
        "BSDS500",
        "ImageNet",
        "licence",
        "Limits",
        "make bench-backbone",
    ):
        assert word in card
