"""Each loss against plain loops over numbers, its gradient, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from protoanomalyncd.prototypes import losses
from protoanomalyncd.prototypes.losses import (
    cross_entropy,
    cross_view,
    entropy_loss,
    info_nce,
    separation_loss,
    supervised_contrastive,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def assert_equals(loss: Tensor, expected: float, dtype: torch.dtype) -> None:
    assert loss.shape == ()
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    parts = [math.exp(x - top) for x in row]
    return [p / sum(parts) for p in parts]


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


# Oracles -----------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 2), (4, 2), (7, 5)])
def test_cross_view_by_loops(n: int, k: int, dtype: torch.dtype) -> None:
    q1, q2 = (torch.softmax(draw(n, k, dtype=dtype, seed=s), dim=1) for s in (1, 2))
    x1, x2 = (draw(n, k, dtype=dtype, seed=s) * 10 for s in (3, 4))
    total = 0.0
    for i in range(n):
        p1, p2 = softmax(x1[i].tolist()), softmax(x2[i].tolist())
        for c in range(k):
            total -= q1[i, c].item() * math.log(p2[c]) + q2[i, c].item() * math.log(p1[c])
    assert_equals(cross_view(q1, q2, x1, x2), total / (2 * n), dtype)


@DTYPES
@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 2), (6, 2), (9, 5)])
def test_entropy_by_loops(n: int, k: int, dtype: torch.dtype) -> None:
    logits = draw(n, k, dtype=dtype) * 5
    rows = [softmax(row) for row in logits.tolist()]
    expected = math.log(k)
    for c in range(k):
        mean = sum(row[c] for row in rows) / n
        expected += mean * math.log(mean)
    assert_equals(entropy_loss(logits), expected, dtype)


@DTYPES
@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize(("k", "d"), [(2, 3), (3, 1), (6, 8)])
def test_separation_by_loops(k: int, d: int, temperature: float, dtype: torch.dtype) -> None:
    prototypes = draw(k, d, dtype=dtype) * 3
    rows = [unit(row) for row in prototypes.tolist()]
    expected = 0.0
    for i in range(k):
        others = [math.exp(dot(rows[i], rows[j]) / temperature) for j in range(k) if j != i]
        expected += math.log(sum(others) / (k - 1)) / k
    assert_equals(separation_loss(prototypes, temperature), expected, dtype)


@DTYPES
@pytest.mark.parametrize("temperature", [1.0, 0.1])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_info_nce_by_loops(n: int, temperature: float, dtype: torch.dtype) -> None:
    z1, z2 = draw(n, 4, dtype=dtype, seed=1), draw(n, 4, dtype=dtype, seed=2)
    rows = [unit(row) for row in z1.tolist() + z2.tolist()]
    expected = 0.0
    for a in range(2 * n):
        partner = a + n if a < n else a - n
        scores = {b: math.exp(dot(rows[a], rows[b]) / temperature) for b in range(2 * n) if b != a}
        expected -= math.log(scores[partner] / sum(scores.values())) / (2 * n)
    assert_equals(info_nce(z1, z2, temperature), expected, dtype)


@DTYPES
@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("labels", [[5], [0, 0], [0, 1, 0, 2, 1], [7, 7, 7, 7], [0, 1, 2]])
def test_supervised_contrastive_by_loops(labels: list[int], views: int, dtype: torch.dtype) -> None:
    temperature, n = 0.2, len(labels)
    z = draw(n, views, 4, dtype=dtype)
    rows = [unit(row) for sample in z.tolist() for row in sample]
    classes = [label for label in labels for _ in range(views)]
    expected = 0.0
    for a in range(n * views):
        scores = {
            b: math.exp(dot(rows[a], rows[b]) / temperature) for b in range(n * views) if b != a
        }
        positives = [b for b in scores if classes[b] == classes[a]]
        logs = [math.log(scores[p] / sum(scores.values())) for p in positives]
        expected -= sum(logs) / len(positives) / (n * views)
    assert_equals(supervised_contrastive(z, torch.tensor(labels), temperature), expected, dtype)


@DTYPES
def test_cross_entropy_by_loops(dtype: torch.dtype) -> None:
    logits, labels = draw(4, 3, dtype=dtype), [2, 0, 1, 1]
    rows = [softmax(row) for row in logits.tolist()]
    expected = -sum(math.log(row[c]) for row, c in zip(rows, labels, strict=True)) / 4
    assert_equals(cross_entropy(logits, torch.tensor(labels)), expected, dtype)


# Gradients ---------------------------------------------------------------------------------------


def test_gradients() -> None:
    q1, q2 = (torch.softmax(draw(3, 4, seed=s), dim=1) for s in (1, 2))
    x1, x2 = (draw(3, 4, seed=s).requires_grad_() for s in (3, 4))
    labels = torch.tensor([0, 1, 0])
    check = torch.autograd.gradcheck
    assert check(lambda a, b: cross_view(q1, q2, a, b), (x1, x2))
    assert check(entropy_loss, (x1,))
    assert check(separation_loss, (x1,))
    assert check(lambda a, b: info_nce(a, b, 0.5), (x1, x2))
    assert check(lambda a: supervised_contrastive(a, labels, 0.2), draw(3, 2, 4).requires_grad_())
    assert check(lambda a: cross_entropy(a, labels), (x1,))


def test_no_gradient_flows_into_targets() -> None:
    q = torch.softmax(draw(3, 4), dim=1).requires_grad_()
    x = draw(3, 4, seed=1).requires_grad_()
    cross_view(q, q, x, x).backward()
    assert q.grad is None
    assert x.grad is not None


# Limits ------------------------------------------------------------------------------------------


@DTYPES
def test_a_batch_without_samples_costs_nothing_and_stays_in_the_graph(dtype: torch.dtype) -> None:
    matrix = torch.zeros(0, 4, dtype=dtype, requires_grad=True)
    labels = torch.zeros(0, dtype=torch.long)
    for loss in (
        cross_view(matrix, matrix, matrix, matrix),
        entropy_loss(matrix),
        separation_loss(matrix),
        info_nce(matrix, matrix),
        supervised_contrastive(matrix.reshape(0, 2, 4), labels),
        cross_entropy(matrix, labels),
    ):
        assert_equals(loss, 0.0, dtype)
        loss.backward()


def test_one_prototype_has_nothing_to_keep_away_from() -> None:
    prototype = draw(1, 4).requires_grad_()
    loss = separation_loss(prototype)
    loss.backward()
    assert loss.item() == 0
    assert prototype.grad is not None
    assert prototype.grad.abs().sum() == 0


def test_entropy_runs_from_zero_to_log_k() -> None:
    even = torch.eye(4, dtype=torch.float64) * 1000
    assert entropy_loss(even).item() == pytest.approx(0, abs=1e-12)
    assert entropy_loss(even[:1].repeat(5, 1)).item() == pytest.approx(math.log(4))


@DTYPES
def test_divergence_from_a_prior_by_loops(dtype: torch.dtype) -> None:
    logits, prior = draw(9, 4, dtype=dtype) * 5, [0.4, 0.3, 0.2, 0.1]
    rows = [softmax(row) for row in logits.tolist()]
    expected = 0.0
    for c in range(4):
        mean = sum(row[c] for row in rows) / 9
        expected += mean * math.log(mean / prior[c])
    assert_equals(entropy_loss(logits, torch.tensor(prior, dtype=dtype)), expected, dtype)


def test_an_even_prior_changes_nothing_and_the_wrong_number_is_refused() -> None:
    logits = draw(9, 4) * 5
    even = entropy_loss(logits, torch.full((4,), 0.25, dtype=logits.dtype))
    torch.testing.assert_close(even, entropy_loss(logits))
    with pytest.raises(ValueError, match=r"expected prior \(4,\), got \(3,\)"):
        entropy_loss(logits, torch.ones(3))


@DTYPES
def test_entropy_of_a_collapsed_batch_has_a_finite_gradient(dtype: torch.dtype) -> None:
    logits = torch.tensor([[2000.0, 0.0, -2000.0]], dtype=dtype, requires_grad=True)
    entropy_loss(logits).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("cosine", "rows"), [(1, [[1, 0], [5, 0]]), (-1, [[1, 0], [-2, 0]])])
def test_separation_of_two_is_their_cosine(cosine: float, rows: list[list[float]]) -> None:
    prototypes = torch.tensor(rows, dtype=torch.float64)
    assert separation_loss(prototypes, 0.1).item() == pytest.approx(cosine / 0.1)


@DTYPES
def test_small_temperatures_do_not_overflow(dtype: torch.dtype) -> None:
    z = draw(4, 2, 3, dtype=dtype)
    for loss in (
        separation_loss(z[:, 0], 1e-3),
        info_nce(z[:, 0], z[:, 1], 1e-3),
        supervised_contrastive(z, torch.tensor([0, 0, 1, 1]), 1e-3),
    ):
        assert torch.isfinite(loss)


def test_contrastive_losses_ignore_length_and_order() -> None:
    z, labels = draw(5, 2, 4), torch.tensor([0, 1, 0, 2, 1])
    order, lengths = torch.tensor([3, 0, 4, 1, 2]), torch.rand(5, 2, 1).double() + 0.5
    other = (z * lengths)[order]
    nce, supcon = info_nce(z[:, 0], z[:, 1]), supervised_contrastive(z, labels)
    torch.testing.assert_close(info_nce(other[:, 0], other[:, 1]), nce)
    torch.testing.assert_close(supervised_contrastive(other, labels[order]), supcon)


def test_without_a_shared_class_supervised_is_unsupervised() -> None:
    z = draw(5, 2, 4)
    supervised = supervised_contrastive(z, torch.arange(5), 0.3)
    torch.testing.assert_close(supervised, info_nce(z[:, 0], z[:, 1], 0.3))


# Wrong shapes ------------------------------------------------------------------------------------


def test_wrong_shapes_are_named() -> None:
    a, b = draw(3, 4), draw(2, 4)
    with pytest.raises(ValueError, match=r"four \(n, K\) tensors .* got \[\(3, 4\), \(2, 4\)"):
        cross_view(a, b, a, a)
    with pytest.raises(ValueError, match=r"logits \(n, K\), got \(4,\)"):
        entropy_loss(a[0])
    with pytest.raises(ValueError, match=r"prototypes \(K, d\), got \(4,\)"):
        separation_loss(a[0])
    with pytest.raises(ValueError, match=r"two \(n, d\) tensors, got \(3, 4\) and \(2, 4\)"):
        info_nce(a, b)
    with pytest.raises(ValueError, match=r"got \(3, 1, 4\) and \(3,\)"):
        supervised_contrastive(a[:, None], torch.zeros(3))
    with pytest.raises(ValueError, match=r"got \(3, 2, 4\) and \(2,\)"):
        supervised_contrastive(draw(3, 2, 4), torch.zeros(2))


def test_the_room_exports_one_function_a_file() -> None:
    assert sorted(losses.__all__) == losses.__all__
    assert len(losses.__all__) == 6
    for name in losses.__all__:
        assert "Source:" in (getattr(losses, name).__doc__ or "")
