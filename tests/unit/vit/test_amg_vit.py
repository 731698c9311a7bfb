"""amg_vit.py: what guides the class token, and the frozen view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.regions import guide_values
from tests.tiny import SIDE, network_folder, tiny_encoder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("network") / "vit", depth=2)


def test_without_an_object_mask_everything_is_object(network: Path) -> None:
    mask, amap = np.zeros((SIDE, SIDE), np.bool_), np.random.default_rng(0).random((SIDE, SIDE))
    plain = guide_values(mask, amap)
    assert plain.shape == (SIDE, SIDE)
    everything = guide_values(mask, amap, np.ones_like(mask))
    assert everything.shape == (SIDE, SIDE, 2)
    encoder = tiny_encoder(network)
    images = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    biases = [
        encoder.tokens(images, torch.from_numpy(values)[None].float()).bias
        for values in (plain, everything)
    ]
    assert torch.equal(*biases)


def test_background_is_pushed_down(network: Path) -> None:
    config = GuidanceConfig(beta=2.0, object_factor=0.25, background_factor=-0.5)
    mask, amap = np.zeros((SIDE, SIDE), np.bool_), np.zeros((SIDE, SIDE), np.float32)
    on_object = np.zeros_like(mask)
    on_object[:, : SIDE // 2] = True
    amap[: SIDE // 2] = 0.5
    values = torch.from_numpy(guide_values(mask, amap, on_object))[None]
    encoder = tiny_encoder(network, config)
    images = torch.zeros((1, SIDE, SIDE, 3), dtype=torch.uint8)
    bias = encoder.tokens(images, values).bias[0]
    grid = bias.reshape(int(bias.numel() ** 0.5), -1)
    half = grid.shape[0] // 2
    # M = beta (a + (1 - a)(rho_o o + rho_b (1 - o))), by hand
    for rows, a in ((slice(0, half), 0.5), (slice(half, None), 0.0)):
        for columns, rho in ((slice(0, half), 0.25), (slice(half, None), -0.5)):
            expected = torch.full_like(grid[rows, columns], 2.0 * (a + (1 - a) * rho))
            torch.testing.assert_close(grid[rows, columns], expected)


def test_the_frozen_view_is_class_token_and_guided_mean_of_the_patches(network: Path) -> None:
    encoder = tiny_encoder(network)
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    anomaly = torch.rand(2, SIDE, SIDE)
    embeddings, frozen = encoder.features(images, anomaly)
    assert torch.equal(embeddings, encoder.embed(images, anomaly))
    for i in range(2):
        tokens = encoder.tokens(images[i : i + 1], anomaly[i : i + 1])
        assert torch.equal(encoder.frozen_view(tokens)[0], frozen[i])
        mean = torch.zeros_like(tokens.cls[0])
        for weight, patch in zip(tokens.bias[0].exp(), tokens.patches[0], strict=True):
            mean += weight * patch
        parts = torch.cat([tokens.cls[0] / tokens.cls[0].norm(), mean / mean.norm()])
        torch.testing.assert_close(frozen[i], parts / parts.norm(), atol=1e-5, rtol=1e-4)


def test_training_the_tail_leaves_the_frozen_view_alone(network: Path) -> None:
    encoder = tiny_encoder(network)
    images = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    anomaly = torch.rand(1, SIDE, SIDE)
    before = encoder.features(images, anomaly)
    with torch.no_grad():
        for parameter in encoder.tail.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    after = encoder.features(images, anomaly)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])
