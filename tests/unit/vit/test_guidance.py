"""guidance.py: the factor by a naive loop, its limits, the hard mode, the mask."""

from __future__ import annotations

import pytest
import torch

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.vit.guidance import (
    CLOSED,
    attention_bias,
    pool_to_grid,
    region_guidance_factor,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("textured", [True, False])
def test_the_factor_equals_a_loop(dtype: torch.dtype, textured: bool) -> None:
    config = GuidanceConfig(beta=3.0, object_factor=0.2, background_factor=-0.7)
    a, o = torch.rand(3, 7, dtype=dtype), torch.rand(3, 7, dtype=dtype)
    found = attention_bias(a, None if textured else o, config)
    assert found.dtype == dtype
    for image in range(3):
        for j in range(7):
            a_j, o_j = float(a[image, j]), 1.0 if textured else float(o[image, j])
            g_j = a_j + (1 - a_j) * (0.2 * o_j - 0.7 * (1 - o_j))
            assert float(found[image, j]) == pytest.approx(3.0 * g_j, abs=1e-6)


def test_limits_of_the_factor() -> None:
    config = GuidanceConfig(object_factor=0.1, background_factor=-0.5)
    a, o = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    found = region_guidance_factor(a, o, config)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.1, -0.5]]))
    random = region_guidance_factor(torch.rand(50, 9), torch.rand(50, 9), config)
    assert float(random.min()) >= -0.5
    assert float(random.max()) <= 1


def test_without_an_object_mask_everything_is_object() -> None:
    config, a = GuidanceConfig(object_factor=0.3), torch.rand(2, 6)
    torch.testing.assert_close(
        attention_bias(a, None, config), attention_bias(a, torch.ones_like(a), config)
    )


def test_no_guidance_is_zero() -> None:
    assert not attention_bias(torch.rand(2, 6), None, GuidanceConfig(mode="none")).any()


def test_hard_guidance_closes_what_is_less_than_half() -> None:
    a = torch.tensor([[0.49, 0.5, 1.0, 0.0]])
    found = attention_bias(a, None, GuidanceConfig(mode="hard"))
    assert found.tolist() == [[CLOSED, 0.0, 0.0, CLOSED]]


def test_hard_guidance_leaves_an_image_without_such_a_patch_alone() -> None:
    a = torch.tensor([[0.49, 0.2], [0.9, 0.2]])
    found = attention_bias(a, None, GuidanceConfig(mode="hard"))
    assert found.tolist() == [[0.0, 0.0], [0.0, CLOSED]]


def test_pooling_averages_the_patches_row_by_row() -> None:
    values = torch.rand(2, 12, 20)
    found = pool_to_grid(values, (3, 5))
    assert found.shape == (2, 15)
    for image in range(2):
        for row in range(3):
            for column in range(5):
                patch = values[image, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                torch.testing.assert_close(found[image, 5 * row + column], patch.mean())


def test_pooling_takes_masks() -> None:
    assert pool_to_grid(torch.ones(1, 4, 4, dtype=torch.bool), (2, 2)).tolist() == [[1.0] * 4]
