"""amg_vit.py: what guides the class token, and the strength that is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.vit.amg_vit import LearnedStrength, anomaly_values
from tests.tiny import SIDE, network_folder, tiny_encoder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("network") / "vit", depth=2)


def test_anomaly_values_are_the_larger_of_mask_and_map() -> None:
    mask, amap = np.array([[True, False]]), np.array([[0.2, 0.7]], np.float32)
    np.testing.assert_array_equal(anomaly_values(mask, amap), np.float32([[1.0, 0.7]]))
    np.testing.assert_array_equal(anomaly_values(mask, amap, mask_only=True), [[1.0, 0.0]])


def test_a_learned_strength_starts_at_the_fixed_one(network: Path) -> None:
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    anomaly = torch.rand(2, SIDE, SIDE)
    fixed = tiny_encoder(network).embed(images, anomaly)
    learned = tiny_encoder(network, GuidanceConfig(learn_beta=True)).embed(images, anomaly)
    assert torch.equal(fixed, learned)


def test_the_strength_of_the_tail_gets_a_gradient_and_frozen_blocks_keep_theirs(
    network: Path,
) -> None:
    encoder = tiny_encoder(network, GuidanceConfig(learn_beta=True))
    assert isinstance(encoder.tail, LearnedStrength)
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    tokens = encoder.tokens(images, torch.rand(2, SIDE, SIDE))
    encoder(tokens)[:, 0].sum().backward()
    gradient = encoder.tail.log_strength.grad
    assert gradient is not None
    assert float(gradient) != 0
    with torch.no_grad():
        encoder.tail.log_strength.fill_(float(np.log(2.5)))
        found = encoder(tokens)
        by_hand = encoder.tail.tail(tokens.cls, tokens.patches, 2.5 * tokens.bias)
    torch.testing.assert_close(found, torch.nn.functional.normalize(by_hand, dim=-1))
