"""class_kappas.py: the estimate and the posterior by loops, their limits."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.prototypes.class_kappas import ClassKappas, fit_kappas
from protoanomalyncd.prototypes.vmf import log_normaliser, mean_length


def cosines(n: int = 6, k: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return (torch.rand(n, k, generator=generator, dtype=torch.float64) * 1.6 - 0.8).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_probabilities_by_a_loop(dtype: torch.dtype) -> None:
    given, kappas = cosines(dtype=dtype), ClassKappas((40.0, 90.0, 10.0), 50.0, 32)
    found = torch.softmax(kappas.logits(given, 0.1), dim=1)
    assert found.dtype == dtype
    for i, row in enumerate(given.tolist()):
        weights = [
            math.exp((float(log_normaliser(32, kappa)) + kappa * cosine) / (50.0 * 0.1))
            for kappa, cosine in zip(kappas.kappas, row, strict=True)
        ]
        for k, weight in enumerate(weights):
            assert found[i, k].item() == pytest.approx(weight / sum(weights), rel=1e-5)


def test_equal_kappas_are_the_shared_posterior() -> None:
    given = cosines()
    found = ClassKappas((70.0,) * 3, 70.0, 256).logits(given, 0.1)
    torch.testing.assert_close(found, given / 0.1)


def test_a_tight_class_claims_less_room() -> None:
    kappas = ClassKappas((400.0, 200.0), 300.0, 256)
    near, far = kappas.logits(torch.tensor([[0.9, 0.9], [0.5, 0.5]]), 0.1)
    assert near[0] > near[1]
    assert far[0] < far[1]


def test_one_row_equals_a_batch_to_the_bit() -> None:
    kappas, given = ClassKappas((40.0, 90.0, 10.0), 50.0, 32), cosines(dtype=torch.float32)
    whole = torch.softmax(kappas.logits(given, 0.1), dim=1)
    for i in range(len(given)):
        assert torch.equal(torch.softmax(kappas.logits(given[i : i + 1], 0.1), dim=1)[0], whole[i])


def test_the_estimate_by_a_loop() -> None:
    given = torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.2, 0.5], [0.7, -0.1]])
    found = fit_kappas(given, 64)
    assert float(mean_length(64, found.shared)) == pytest.approx((0.9 + 0.8 + 0.5 + 0.7) / 4)
    for k, (mean, n) in enumerate([((0.9 + 0.8 + 0.7) / 3, 3), (0.5, 1)]):
        weight = n / (n + 20)
        own = (found.kappas[k] / found.shared ** (1 - weight)) ** (1 / weight)
        assert float(mean_length(64, own)) == pytest.approx(mean, rel=1e-6)


def test_directions_around_two_prototypes_of_different_spread() -> None:
    torch.manual_seed(0)
    mu = F.normalize(torch.randn(2, 64, dtype=torch.float64), dim=1)
    tight = F.normalize(mu[0] + 0.05 * torch.randn(200, 64, dtype=torch.float64), dim=1)
    loose = F.normalize(mu[1] + 0.15 * torch.randn(200, 64, dtype=torch.float64), dim=1)
    found = fit_kappas(torch.cat([tight, loose]) @ mu.T, 64)
    assert found.kappas[0] > 3 * found.kappas[1]
    assert found.kappas[1] < found.shared < found.kappas[0]


def test_an_empty_class_and_no_region_at_all_get_the_shared_kappa() -> None:
    found = fit_kappas(torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.1]]), 64)
    assert found.kappas[2] == pytest.approx(found.shared)
    assert fit_kappas(torch.zeros(0, 2), 64).kappas == pytest.approx((1.0, 1.0))
    opposite = fit_kappas(torch.tensor([[-0.5, -0.9]]), 64)
    assert all(kappa == pytest.approx(1.0) for kappa in opposite.kappas)


def test_json_keeps_every_bit_and_classes_can_be_reordered() -> None:
    found = fit_kappas(cosines(), 64)
    assert ClassKappas.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert found.reordered([2, 0, 1]).kappas == tuple(found.kappas[k] for k in (2, 0, 1))
