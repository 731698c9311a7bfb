"""The region's patches beside the class token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.config import EmbeddingConfig, TrainingConfig
from protoanomalyncd.training import fill_token_cache
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from protoanomalyncd.vit.base import Tokens
from protoanomalyncd.vit.patch_part import PatchPart, patch_mean
from tests.tiny import SIDE, network_folder, random_crops


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some(n: int = 5) -> Tokens:
    return Tokens(numbers(n, 8), numbers(n, 6, 8, seed=1), 3 * numbers(n, 6, seed=2))


def test_mean_agrees_with_a_loop() -> None:
    """Each patch counts by exp(M)."""
    tokens = some()
    for b, found in enumerate(patch_mean(tokens)):
        total = sum(
            float(torch.exp(m)) * patch
            for m, patch in zip(tokens.bias[b], tokens.patches[b], strict=True)
        )
        assert isinstance(total, Tensor)
        torch.testing.assert_close(found, total / total.norm())


@pytest.mark.parametrize("shrinkage", [None, 0.3])
def test_the_weight_is_the_share_of_the_similarity(shrinkage: float | None) -> None:
    """Whitened or not."""
    tokens, z = some(), F.normalize(numbers(5, 4, seed=3), dim=1)
    part = PatchPart(8, 0.3, shrinkage)
    part.fit(F.normalize(numbers(40, 8, seed=4), dim=1))
    p = patch_mean(tokens)
    p = p if part.whitening is None else part.whitening(p)
    joined = part(z, tokens)
    assert joined.shape == (5, 12)
    torch.testing.assert_close(joined @ joined.T, 0.7 * z @ z.T + 0.3 * p @ p.T)
    assert shrinkage is None or not torch.allclose(p, patch_mean(tokens), atol=0.01)


def test_encoder_appends_what_no_training_changes(tmp_path: Path) -> None:
    """The class token, the patches, the descriptors, in this order."""
    network = network_folder(tmp_path / "network")
    plain = EmbeddingConfig(f"local-dir:{network}", SIDE, patch_weight=0, whitening=None)
    backbone = create_backbone(plain.backbone)
    width = backbone.embed_dim
    crops = random_crops(6)
    cache = fill_token_cache(
        tmp_path / "tokens", crops, GuidedEncoder(backbone, plain), TrainingConfig(views=2), 0
    )
    tokens = cache.pick(torch.arange(6), torch.zeros(6, dtype=torch.int64))
    alone = GuidedEncoder(backbone, plain)(tokens)
    config = EmbeddingConfig(plain.backbone, SIDE, whitening=None, patch_weight=0.5)
    encoder = GuidedEncoder(backbone, config)
    found = encoder(tokens)
    assert (encoder.embed_dim, encoder.n_fixed) == (2 * width, width)
    torch.testing.assert_close(found[:, :width], 0.5**0.5 * alone)
    torch.testing.assert_close(found[:, width:], 0.5**0.5 * patch_mean(tokens))
    found.square().sum().backward()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))
