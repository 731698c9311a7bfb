"""EMA prototypes and dispersion against CIDER's own numbers; cider.json names its origin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from protoanomalyncd.prototypes.ema import ema_prototypes
from protoanomalyncd.prototypes.losses import cross_entropy, separation_loss

CASES = json.loads(Path(__file__).with_name("cider.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_two_steps(case: dict, dtype: torch.dtype) -> None:
    given, expected = case["inputs"], case["output"]
    labels = torch.tensor(given["labels"])
    start, first, z = (
        torch.tensor(given[name], dtype=dtype) for name in ("prototypes", "first", "second")
    )
    z.requires_grad_()
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4

    def same(found: torch.Tensor, name: str) -> None:
        value = torch.tensor(expected[name], dtype=dtype)
        torch.testing.assert_close(found.detach(), value, rtol=tolerance, atol=tolerance)

    moved = ema_prototypes(start, first, labels, given["momentum"])
    moved = ema_prototypes(moved, z, labels, given["momentum"])
    same(moved, "prototypes")
    dispersion = separation_loss(moved, given["temperature"])
    same(dispersion, "dispersion")
    same(torch.autograd.grad(dispersion, z, retain_graph=True)[0], "dispersion_gradient")
    compactness = cross_entropy(z @ moved.detach().T / given["temperature"], labels)
    same(compactness, "compactness")
    same(torch.autograd.grad(compactness, z)[0], "compactness_gradient")
