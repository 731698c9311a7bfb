"""Losses, pseudo-labels, merging and metrics against the references' own numbers.

``losses.json`` names repository, commit, file and function of each case; ``make_losses.py``
wrote it. Gradients are compared too, which checks every pseudo-label entry by entry.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.metrics import evaluate
from protoanomalyncd.prototypes.losses import (
    cross_view,
    entropy_loss,
    info_nce,
    separation_loss,
    supervised_contrastive,
)
from protoanomalyncd.prototypes.pseudo_labels import (
    corrected_targets,
    ramp,
)
from research.published.objective import target_temperature

GOLDEN = json.loads((Path(__file__).parent / "losses.json").read_text())
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}


def cases(name: str) -> pytest.MarkDecorator:
    ids = [f"{c['origin']['repository'].split('/')[1]}{i}" for i, c in enumerate(GOLDEN[name])]
    return pytest.mark.parametrize("case", GOLDEN[name], ids=ids)


def leaf(values: list, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def check(loss: Tensor, x: Tensor, output: dict[str, Any]) -> None:
    (gradient,) = torch.autograd.grad(loss, x)
    tolerance = TOLERANCE[x.dtype]
    assert loss.dtype == x.dtype
    assert loss.item() == pytest.approx(output["value"], rel=tolerance, abs=tolerance)
    expected = torch.tensor(output["gradient"], dtype=torch.float64)
    torch.testing.assert_close(gradient.double(), expected, rtol=tolerance, atol=tolerance)


def test_every_case_names_its_origin() -> None:
    for group in GOLDEN.values():
        for case in group:
            assert set(case["origin"]) == {"repository", "commit", "file", "function"}
            assert len(case["origin"]["commit"]) == 40


@DTYPES
@cases("info_nce")
def test_info_nce(case: dict, dtype: torch.dtype) -> None:
    z = leaf(case["inputs"]["z"], dtype)
    check(info_nce(*z.chunk(2), case["inputs"]["temperature"]), z, case["output"])


@DTYPES
@cases("supervised_contrastive")
def test_supervised_contrastive(case: dict, dtype: torch.dtype) -> None:
    z = leaf(case["inputs"]["z"], dtype)
    labels = torch.tensor(case["inputs"]["labels"])
    check(supervised_contrastive(z, labels, case["inputs"]["temperature"]), z, case["output"])


@DTYPES
@cases("entropy")
def test_entropy(case: dict, dtype: torch.dtype) -> None:
    cosines = leaf(case["inputs"]["cosines"], dtype)
    check(entropy_loss(cosines / case["inputs"]["temperature"]), cosines, case["output"])


@DTYPES
@cases("separation")
def test_separation(case: dict, dtype: torch.dtype) -> None:
    prototypes = leaf(case["inputs"]["prototypes"], dtype)
    loss = separation_loss(prototypes, case["inputs"]["temperature"])
    check(loss, prototypes, case["output"])


@DTYPES
@cases("dapl")
def test_dapl(case: dict, dtype: torch.dtype) -> None:
    inputs = case["inputs"]
    share = ramp(inputs["epoch"], inputs["n_epochs"])
    assert share == pytest.approx(inputs["share"])
    cosines = leaf(inputs["cosines"], dtype)
    targets = [corrected_targets(view, share) for view in cosines.chunk(2)]
    loss = cross_view(*targets, *(cosines / 0.1).chunk(2))
    check(loss, cosines, case["output"])


@DTYPES
@cases("distill")
def test_soft_distillation_of_simgcd(case: dict, dtype: torch.dtype) -> None:
    cosines = leaf(case["inputs"]["cosines"], dtype)
    temperature = case["inputs"]["temperature"]
    targets = [corrected_targets(view, 0, temperature=temperature) for view in cosines.chunk(2)]
    check(cross_view(*targets, *(cosines / 0.1).chunk(2)), cosines, case["output"])


@DTYPES
@cases("distill_corrected")
def test_corrected_distillation_of_anomalyncd(case: dict, dtype: torch.dtype) -> None:
    inputs = case["inputs"]
    cosines = leaf(inputs["cosines"], dtype)
    options = {
        "n_base": inputs["n_base"],
        "scores": torch.tensor(inputs["scores"], dtype=dtype),
        "temperature": inputs["temperature"],
    }
    targets = [corrected_targets(view, 0, **options) for view in cosines.chunk(2)]
    loss = cross_view(*targets, *(cosines / 0.1).chunk(2))
    check(loss, cosines, case["output"])


@pytest.mark.parametrize("form", ["pixels", "shares"])
@cases("merge_regions")
def test_merge_regions(case: dict, form: str) -> None:
    inputs, height, width = case["inputs"], 300, 700
    cosines = torch.tensor(inputs["cosines"], dtype=torch.float64)
    areas = torch.tensor(inputs["pixels"], dtype=torch.float64)
    temperature = inputs["temperature"]
    if form == "shares":
        areas, temperature = areas / (height * width), temperature / math.sqrt(height * width)
    merged = merge_regions(
        torch.softmax(cosines / inputs["cosine_temperature"], dim=1),
        torch.tensor(inputs["image_index"]),
        areas,
        temperature,
        inputs["n_base"],
    )
    expected = torch.tensor(case["output"], dtype=torch.float64)
    torch.testing.assert_close(merged, expected, rtol=1e-6, atol=1e-7)  # its weights are float32


@cases("metrics")
def test_metrics(case: dict) -> None:
    names = [f"class {k}" for k in case["inputs"]["true"]]
    found = evaluate(names, case["inputs"]["found"])
    for name, value in case["output"].items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "epochs", "warmup", "step"),
    [("distill", (0, 10, 40), 30, 1), ("distill_corrected", (0, 13, 45), 40, 4)],
)
def test_target_temperatures_of_simgcd_and_anomalyncd(
    name: str, epochs: tuple[int, ...], warmup: int, step: int
) -> None:
    for epoch, case in zip(epochs, GOLDEN[name], strict=True):
        found = target_temperature(epoch, 0.07, 0.04, warmup, step)
        assert found == pytest.approx(case["inputs"]["temperature"], abs=1e-12)
