"""Pseudo-labels against plain loops, their limits, and the order of the steps."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from protoanomalyncd.prototypes.pseudo_labels import (
    correct_towards_normal,
    corrected_targets,
    harden,
    ramp,
    restrict_to_novel,
    soft_targets,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


def draw_cosines(n: int, k: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, k, generator=generator, dtype=torch.float64) * 2 - 1).to(dtype)


def loop_soft(cosines: list[list[float]], temperature: float) -> list[list[float]]:
    result = []
    for row in cosines:
        parts = [math.exp(x / temperature) for x in row]
        result.append([p / sum(parts) for p in parts])
    return result


def loop_novel(q: list[list[float]], n_base: int) -> list[list[float]]:
    return [[0.0 if k < n_base else x / sum(row[n_base:]) for k, x in enumerate(row)] for row in q]


def loop_harden(q: list[list[float]], share: float) -> list[list[float]]:
    confidence = []
    for i, row in enumerate(q):
        first, second = sorted([*row, 0.0], reverse=True)[:2]
        confidence.append((-first / (second + 1e-6), i))
    result = [list(row) for row in q]
    for _, i in sorted(confidence)[: int(len(q) * share)]:
        best = q[i].index(max(q[i]))
        result[i] = [float(k == best) for k in range(len(q[i]))]
    return result


def loop_correct(q: list[list[float]], scores: list[float], normal: int) -> list[list[float]]:
    result = []
    for row, s in zip(q, scores, strict=True):
        w = max(0.0, 0.5 - s)
        result.append([w * (k == normal) + (1 - w) * x for k, x in enumerate(row)])
    return result


def assert_rows(q: Tensor, expected: list[list[float]], dtype: torch.dtype) -> None:
    assert q.dtype == dtype
    assert not q.requires_grad
    torch.testing.assert_close(q, torch.tensor(expected, dtype=torch.float64).to(dtype))
    torch.testing.assert_close(q.sum(dim=1), torch.ones(len(q), dtype=dtype))


@DTYPES
@pytest.mark.parametrize("temperature", [0.05, 0.07])
def test_soft_targets(temperature: float, dtype: torch.dtype) -> None:
    cosines = draw_cosines(6, 4, dtype).requires_grad_()
    expected = loop_soft(cosines.tolist(), temperature)
    assert_rows(soft_targets(cosines, temperature), expected, dtype)


@DTYPES
@pytest.mark.parametrize("share", [0.0, 0.1, 0.34, 0.5, 0.99, 1.0])
@pytest.mark.parametrize(("n", "k"), [(1, 2), (7, 2), (10, 5), (3, 1)])
def test_without_known_classes_and_scores_targets_are_adaptive(
    n: int, k: int, share: float, dtype: torch.dtype
) -> None:
    cosines = draw_cosines(n, k, dtype).requires_grad_()
    expected = loop_harden(loop_soft(cosines.tolist(), 0.05), share)
    assert_rows(corrected_targets(cosines, share), expected, dtype)


def test_the_most_confident_become_hard() -> None:
    q = torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.5, 0.5], [0.8, 0.2]], dtype=torch.float64)
    expected = torch.tensor([[0.6, 0.4], [0, 1], [0.5, 0.5], [1, 0]], dtype=torch.float64)
    torch.testing.assert_close(harden(q, 0.5), expected)
    assert q[1, 1] == 0.9  # the input is left alone


def test_equal_confidence_is_taken_in_order() -> None:
    q = torch.full((4, 2), 0.5)
    q[:, 0], q[:, 1] = 0.7, 0.3
    assert harden(q, 0.5).tolist() == [[1, 0], [1, 0], q[2].tolist(), q[3].tolist()]


def test_no_samples() -> None:
    empty = torch.zeros(0, 3)
    assert corrected_targets(empty, 0.5, n_base=1, scores=torch.zeros(0)).shape == (0, 3)


@pytest.mark.parametrize(("n_epochs", "first_full"), [(2, 1), (3, 1), (10, 4), (11, 4), (200, 99)])
def test_ramp(n_epochs: int, first_full: int) -> None:
    shares = [ramp(epoch, n_epochs) for epoch in range(n_epochs)]
    assert shares[0] == 0
    assert shares[first_full:] == [1.0] * (n_epochs - first_full)
    steps = [b - a for a, b in pairwise(shares)][:first_full]
    assert steps == pytest.approx([1 / first_full] * first_full)


def test_ramp_of_one_epoch_stays_soft() -> None:
    assert ramp(0, 1) == 0


@DTYPES
@pytest.mark.parametrize("n_base", [0, 1, 3])
def test_restrict_to_novel(n_base: int, dtype: torch.dtype) -> None:
    q = soft_targets(draw_cosines(6, 4, dtype), 0.5)
    assert_rows(restrict_to_novel(q, n_base), loop_novel(q.tolist(), n_base), dtype)


@DTYPES
def test_no_novel_mass_is_spread_evenly(dtype: torch.dtype) -> None:
    q = torch.tensor([[1, 0, 0]], dtype=dtype)
    assert restrict_to_novel(q, 1).tolist() == [[0, 0.5, 0.5]]


@DTYPES
def test_correct_towards_normal(dtype: torch.dtype) -> None:
    q = soft_targets(draw_cosines(5, 3, dtype), 0.5)
    scores = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=dtype)
    corrected = correct_towards_normal(q, scores, 1)
    assert_rows(corrected, loop_correct(q.tolist(), scores.tolist(), 1), dtype)
    torch.testing.assert_close(corrected[2:], q[2:])  # nothing happens from 0.5 on


def test_scores_may_have_another_precision() -> None:
    q = soft_targets(draw_cosines(3, 3, torch.float32))
    assert correct_towards_normal(q, torch.rand(3).double(), 0).dtype == torch.float32


@DTYPES
@pytest.mark.parametrize("normal", [None, 4])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_corrected_targets_in_the_stated_order(
    share: float, normal: int | None, dtype: torch.dtype
) -> None:
    n_base, scores = 2, torch.linspace(0, 1, 8, dtype=dtype)
    cosines = draw_cosines(8, 5, dtype).requires_grad_()
    novel = loop_novel(loop_soft(cosines.tolist(), 0.05), n_base)
    expected = loop_correct(
        loop_harden(novel, share), scores.tolist(), n_base if normal is None else normal
    )
    options = {"n_base": n_base, "scores": scores, "normal_index": normal}
    assert_rows(corrected_targets(cosines, share, **options), expected, dtype)


def test_the_order_matters() -> None:
    """A base class on top must not be what a sample is hardened to."""
    cosines = torch.tensor([[0.9, 0.1, 0.5]])
    assert corrected_targets(cosines, 1.0, n_base=1).tolist() == [[0, 0, 1]]


def test_without_base_and_scores_it_is_dapl() -> None:
    cosines = draw_cosines(9, 4)
    torch.testing.assert_close(corrected_targets(cosines, 0.4), harden(soft_targets(cosines), 0.4))


def test_wrong_arguments_are_named() -> None:
    q = soft_targets(draw_cosines(3, 4))
    with pytest.raises(ValueError, match=r"share in \[0, 1\], got 1.5"):
        harden(q, 1.5)
    with pytest.raises(ValueError, match=r"n_base in \[0, 4\) for 4 classes, got 4"):
        restrict_to_novel(q, 4)
    with pytest.raises(ValueError, match=r"scores \(3,\), got \(2,\)"):
        correct_towards_normal(q, torch.zeros(2), 0)
    with pytest.raises(ValueError, match=r"normal_index in \[0, 4\), got 4"):
        correct_towards_normal(q, torch.zeros(3), 4)
    with pytest.raises(ValueError, match=r"cosines \(n, K\) with K >= 1, got \(4,\)"):
        soft_targets(q[0])
    with pytest.raises(ValueError, match="got -1 and 5"):
        ramp(-1, 5)
