"""objective.py: the weighted sum by hand, and batches that lack a kind of sample."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.config import PrototypeConfig
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.prototypes.losses import (
    cross_entropy,
    entropy_loss,
    info_nce,
    separation_loss,
    supervised_contrastive,
)
from protoanomalyncd.prototypes.objective import TwoViews, objective

NAMES = {"dapl", "entropy", "separation", "contrastive", "supervised", "supcon"}


def batch(u: int, labels: list[int], dtype: torch.dtype = torch.float32) -> TwoViews:
    n = u + len(labels)
    z1, z2 = (F.normalize(torch.randn(n, 8, dtype=dtype), dim=1).requires_grad_() for _ in "12")
    return TwoViews(z1, z2, torch.rand(u, dtype=dtype), torch.tensor(labels, dtype=torch.int64))


def grad(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def test_the_total_is_the_weighted_sum() -> None:
    config = PrototypeConfig(supervised_weight=0.3, entropy_weight=3.0, separation_weight=0.2)
    terms = objective(batch(6, [0, 1, 1, 0]), PrototypeHead(8, 2, 3), 0.5, config)
    assert set(terms) == NAMES | {"total"}
    value = {name: term.item() for name, term in terms.items()}
    unlabelled = value["dapl"] + 3 * value["entropy"] + 0.2 * value["separation"]
    unlabelled += value["contrastive"]
    expected = 0.7 * unlabelled + 0.3 * (value["supervised"] + value["supcon"])
    assert value["total"] == pytest.approx(expected, rel=1e-5)


def test_each_term_gets_its_own_samples() -> None:
    config, head, views = PrototypeConfig(), PrototypeHead(8, 2, 3), batch(5, [0, 1, 1])
    terms = objective(views, head, 0.0, config)
    cos1, cos2 = head(views.z1), head(views.z2)
    p1, p2 = head.project(views.z1), head.project(views.z2)
    expected = {
        "entropy": entropy_loss(torch.cat([cos1[:5, 2:], cos2[:5, 2:]]) / 0.1),
        "separation": separation_loss(head.prototypes, 0.1),
        "contrastive": info_nce(p1, p2, 1.0),
        "supervised": cross_entropy(torch.cat([cos1[5:], cos2[5:]]) / 0.1, views.labels.repeat(2)),
        "supcon": supervised_contrastive(torch.stack([p1[5:], p2[5:]], dim=1), views.labels, 0.07),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_without_labelled_samples_the_unlabelled_terms_count_fully() -> None:
    config = PrototypeConfig()
    terms = objective(batch(6, []), PrototypeHead(8, 0, 3), 1.0, config)
    value = {name: term.item() for name, term in terms.items()}
    expected = value["dapl"] + 2 * value["entropy"] + 0.1 * value["separation"]
    assert value["total"] == pytest.approx(expected + value["contrastive"], rel=1e-5)
    assert value["supervised"] == value["supcon"] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("u", "labels", "n_base", "n_novel"),
    [
        (6, [0, 1, 1, 0], 2, 3),
        (6, [], 0, 3),
        (6, [], 2, 3),  # base classes, but none drawn
        (1, [], 0, 2),  # one sample
        (1, [0], 1, 2),
        (4, [0, 0], 1, 1),  # one class of each kind
        (4, [], 0, 1),
        (0, [0, 1], 2, 2),  # nothing unlabelled
    ],
)
def test_values_and_gradients_are_finite(
    u: int, labels: list[int], n_base: int, n_novel: int, share: float, dtype: torch.dtype
) -> None:
    head = PrototypeHead(8, n_base, n_novel).to(dtype)
    views = batch(u, labels, dtype)
    terms = objective(views, head, share, PrototypeConfig())
    assert all(torch.isfinite(term).all() and term.ndim == 0 for term in terms.values())
    terms["total"].backward()
    for tensor in (views.z1, views.z2, head.weight, *head.projection.parameters()):
        assert torch.isfinite(grad(tensor.grad)).all()


def test_unlabelled_samples_pull_towards_novel_prototypes_only() -> None:
    """A sample on a base prototype learns a novel class all the same."""
    head = PrototypeHead(8, 1, 2)
    head.set_prototypes(torch.eye(8)[:3])
    z = torch.eye(8)[:1].clone().requires_grad_()
    views = TwoViews(z, z.detach().clone(), torch.ones(1), torch.zeros(0, dtype=torch.int64))
    objective(views, head, 0.0, PrototypeConfig())["dapl"].backward()
    gradient = grad(z.grad)[0]
    assert gradient[0] > 0  # descent leaves the base prototype
    assert gradient[1] < 0


def test_the_weights_of_all_terms() -> None:
    config = PrototypeConfig(
        pseudo_label_weight=0.5, contrastive_weight=0.25, supcon_weight=0.75, supervised_weight=0.4
    )
    terms = objective(batch(6, [0, 1, 1, 0]), PrototypeHead(8, 2, 3), 0.5, config)
    value = {name: term.item() for name, term in terms.items()}
    unlabelled = 0.5 * value["dapl"] + 2 * value["entropy"] + 0.1 * value["separation"]
    unlabelled += 0.25 * value["contrastive"]
    expected = 0.6 * unlabelled + 0.4 * (value["supervised"] + 0.75 * value["supcon"])
    assert value["total"] == pytest.approx(expected, rel=1e-5)
