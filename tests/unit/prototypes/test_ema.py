"""ema.py: the moving average by a loop, its gradient, its limits; golden values: tests/golden."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.prototypes.ema import ema_prototypes


def unit(n: int, d: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("labels", [[0], [2, 0, 2, 2, 1, 0], [1, 1, 1, 1], []])
def test_by_a_loop(labels: list[int], dtype: torch.dtype) -> None:
    z, mu = unit(len(labels), dtype=dtype), unit(4, dtype=dtype, seed=1)
    expected = mu.tolist()
    for row, k in zip(z.tolist(), labels, strict=True):
        mixed = [0.8 * a + 0.2 * b for a, b in zip(expected[k], row, strict=True)]
        length = math.sqrt(sum(x * x for x in mixed))
        expected[k] = [x / length for x in mixed]
    found = ema_prototypes(mu, z, torch.tensor(labels, dtype=torch.int64), 0.8)
    assert found.dtype == dtype
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype))
    assert torch.equal(found[3], mu[3])  # no sample: stays


def test_the_prototypes_given_are_not_changed() -> None:
    mu = unit(2)
    before = mu.clone()
    ema_prototypes(mu, unit(3), torch.tensor([0, 1, 0]), 0.5)
    assert torch.equal(mu, before)


def test_gradients_reach_the_embeddings() -> None:
    labels = torch.tensor([0, 1, 0, 0])
    z = unit(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ema_prototypes(unit(3, seed=1), x, labels, 0.6), z)


def test_without_momentum_the_last_sample_is_the_prototype() -> None:
    z = unit(3)
    found = ema_prototypes(unit(2, seed=1), z, torch.tensor([0, 0, 0]), 0.0)
    torch.testing.assert_close(found[0], z[2])


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 5\), \(3, 4\) and \(3,\)"):
        ema_prototypes(unit(2), unit(3, 4), torch.zeros(3, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match=r"got \(2, 5\), \(3, 5\) and \(2,\)"):
        ema_prototypes(unit(2), unit(3), torch.zeros(2, dtype=torch.int64), 0.5)
