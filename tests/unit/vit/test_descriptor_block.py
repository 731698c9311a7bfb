from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.config import EmbeddingConfig, TrainingConfig
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.regions.descriptors import DESCRIPTORS, NOTHING
from protoanomalyncd.training import embed_cache, fill_token_cache
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from protoanomalyncd.vit.descriptor_block import SMALLEST_SCALES, DescriptorBlock
from tests.tiny import SIDE, network_folder, random_crops

D = len(DESCRIPTORS)


def regions(n: int, seed: int = 0) -> Tensor:
    """Descriptors (n, D) of regions that have a foreground."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, D, generator=generator) * 0.4 - 0.5


def nothing() -> Tensor:
    return torch.tensor([[NOTHING[name] for name in DESCRIPTORS]])


@pytest.fixture
def block() -> DescriptorBlock:
    made = DescriptorBlock(0.3)
    made.fit(regions(50))
    return made


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("fused") / "network")


def fused(network: Path, weight: float = 0.3) -> GuidedEncoder:
    config = EmbeddingConfig(f"local-dir:{network}", SIDE, patch_weight=0, descriptor_weight=weight)
    return GuidedEncoder(create_backbone(config.backbone), config)


def test_every_scale_has_a_floor() -> None:
    assert tuple(SMALLEST_SCALES) == DESCRIPTORS
    assert min(SMALLEST_SCALES.values()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cosine_of_two_regions_agrees_with_a_loop(
    block: DescriptorBlock, dtype: torch.dtype
) -> None:
    found = block.to(dtype).block(regions(6, seed=1).to(dtype))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6, dtype=dtype))
    angles = [
        [
            math.atan(float((d - c) / s))
            for d, c, s in zip(row, block.centre, block.scale, strict=True)
        ]
        for row in regions(6, seed=1).to(dtype)
    ]
    expected = [
        [sum(math.cos(a - b) for a, b in zip(first, second, strict=True)) / D for second in angles]
        for first in angles
    ]
    torch.testing.assert_close(found @ found.T, torch.tensor(expected, dtype=dtype))


def test_the_weight_is_the_share_of_the_similarity(block: DescriptorBlock) -> None:
    z = F.normalize(torch.randn(4, 8), dim=-1)
    described = regions(4, seed=2)
    joined, b = block(z, described), block.block(described)
    torch.testing.assert_close(joined.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(joined @ joined.T, 0.7 * z @ z.T + 0.3 * b @ b.T)
    assert joined.shape == (4, 8 + block.width)


def test_a_region_without_foreground_is_unlike_every_other(block: DescriptorBlock) -> None:
    b = block.block(torch.cat([nothing(), nothing(), regions(3)]))
    torch.testing.assert_close(b[0] @ b[1], torch.tensor(1.0))
    assert (b[:1] @ b[2:].T).abs().max() == 0


def test_statistics_are_medians_and_quartiles_of_the_regions_alone() -> None:
    described = regions(41)
    block = DescriptorBlock(0.3)
    block.fit(torch.cat([described, nothing(), nothing()])[torch.randperm(43)])
    values = described.double().numpy()
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    floor = np.array([SMALLEST_SCALES[name] for name in DESCRIPTORS])
    np.testing.assert_allclose(block.centre.numpy(), middle, rtol=1e-5)
    np.testing.assert_allclose(
        block.scale.numpy(), np.maximum((high - low) / 1.349, floor), rtol=1e-5
    )


def test_descriptors_that_hardly_vary_are_not_stretched() -> None:
    described = regions(1).repeat(9, 1)
    described[0, 3] += 6.0  # one in nine: the quartiles are equal
    block = DescriptorBlock(0.3)
    block.fit(described)
    expected = torch.tensor([SMALLEST_SCALES[name] for name in DESCRIPTORS])
    expected[3] = described[:, 3].std(correction=0)
    torch.testing.assert_close(block.scale, expected)


@pytest.mark.parametrize("described", [torch.zeros(0, D), nothing()])
def test_without_a_region_the_block_is_finite(described: Tensor) -> None:
    block = DescriptorBlock(0.3)
    block.fit(described)
    found = block.block(torch.cat([regions(2), nothing()]))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_missing_descriptors_are_refused(block: DescriptorBlock) -> None:
    with pytest.raises(ValueError, match="expected the descriptors of each region"):
        block(torch.ones(1, 4) / 2, None)


def test_weight_zero_is_the_embedding_without_descriptors(network: Path) -> None:
    encoder = fused(network, 0.0)
    assert encoder.descriptors is None
    assert encoder.embed_dim == encoder.backbone.embed_dim
    assert encoder.n_fixed == 0


def test_stored_tokens_and_single_crops_give_the_same_fused_embedding(
    network: Path, tmp_path: Path
) -> None:
    crops = random_crops(3)
    described = torch.from_numpy(crops.descriptors)
    encoder = fused(network).eval()
    assert encoder.descriptors is not None
    encoder.descriptors.fit(described)
    cache = fill_token_cache(tmp_path, crops, encoder, TrainingConfig(views=2), seed=0)
    stored = embed_cache(encoder, cache, range(1))
    assert stored.shape == (3, encoder.embed_dim)
    plain, _ = stored.split([encoder.backbone.embed_dim, encoder.n_fixed], dim=1)
    torch.testing.assert_close(plain.norm(dim=1) ** 2, torch.full((3,), 0.7))
    torch.testing.assert_close(
        stored[:, -encoder.n_fixed :], math.sqrt(0.3) * encoder.descriptors.block(described)
    )


def test_the_contrastive_projection_does_not_see_the_descriptors(network: Path) -> None:
    encoder = fused(network)
    assert encoder.descriptors is not None
    width = encoder.embed_dim
    head = PrototypeHead(width, 1, 2, encoder.n_fixed)
    z = F.normalize(torch.randn(5, encoder.backbone.embed_dim), dim=-1)
    first, second = encoder.descriptors(z, regions(5)), encoder.descriptors(z, regions(5, seed=3))
    torch.testing.assert_close(head.project(first), head.project(second))
    assert not torch.allclose(head(first), head(second))


def test_tokens_keep_their_descriptors_on_the_way_to_a_device(network: Path) -> None:
    encoder = fused(network)
    tokens = encoder.tokens(
        torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8), torch.zeros(2, SIDE, SIDE)
    )
    assert tokens.to(torch.device("cpu")).descriptors is None
    moved = replace(tokens, descriptors=regions(2)).to(torch.device("cpu"))
    assert moved.descriptors is not None
    assert torch.equal(moved.descriptors, regions(2))
