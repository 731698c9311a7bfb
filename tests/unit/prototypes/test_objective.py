"""objective.py: the weighted sum by hand, and batches that lack a kind of sample."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from protoanomalyncd.config import Config, PrototypeConfig
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.prototypes.losses import (
    cross_entropy,
    cross_view,
    entropy_loss,
    info_nce,
    normal_negatives,
    separation_loss,
    supervised_contrastive,
)
from protoanomalyncd.prototypes.objective import TwoViews, moved_prototypes, objective
from protoanomalyncd.prototypes.rivals import Rivals

NAMES = {"dapl", "entropy", "separation", "contrastive", "supervised", "supcon"}


def batch(u: int, labels: list[int], dtype: torch.dtype = torch.float32) -> TwoViews:
    n = u + len(labels)
    z1, z2 = (F.normalize(torch.randn(n, 8, dtype=dtype), dim=1).requires_grad_() for _ in "12")
    return TwoViews(z1, z2, torch.rand(u, dtype=dtype), torch.tensor(labels, dtype=torch.int64))


def preset(name: str) -> Config:
    """Settings of a file in ``research/configs/``."""
    path = Path(__file__).parents[3] / "research" / "configs" / f"{name}.yaml"
    return Config.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def grad(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def test_the_total_is_the_weighted_sum() -> None:
    config = PrototypeConfig(supervised_weight=0.3, entropy_weight=3.0, separation_weight=0.2)
    terms = objective(batch(6, [0, 1, 1, 0]), PrototypeHead(8, 2, 3, 4), 0.5, config)
    assert set(terms) == NAMES | {"total"}
    value = {name: term.item() for name, term in terms.items()}
    unlabelled = value["dapl"] + 3 * value["entropy"] + 0.2 * value["separation"]
    unlabelled += value["contrastive"]
    expected = 0.7 * unlabelled + 0.3 * (value["supervised"] + value["supcon"])
    assert value["total"] == pytest.approx(expected, rel=1e-5)


def test_each_term_gets_its_own_samples() -> None:
    config, head, views = PrototypeConfig(), PrototypeHead(8, 2, 3, 4), batch(5, [0, 1, 1])
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
    terms = objective(batch(6, []), PrototypeHead(8, 0, 3, 4), 1.0, config)
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
    head = PrototypeHead(8, n_base, n_novel, 4).to(dtype)
    views = batch(u, labels, dtype)
    terms = objective(views, head, share, PrototypeConfig())
    assert all(torch.isfinite(term).all() and term.ndim == 0 for term in terms.values())
    terms["total"].backward()
    for tensor in (views.z1, views.z2, head.weight, *head.projection.parameters()):
        assert torch.isfinite(grad(tensor.grad)).all()


def test_unlabelled_samples_pull_towards_novel_prototypes_only() -> None:
    """A sample on a base prototype learns a novel class all the same."""
    head = PrototypeHead(8, 1, 2, 4)
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
    terms = objective(batch(6, [0, 1, 1, 0]), PrototypeHead(8, 2, 3, 4), 0.5, config)
    value = {name: term.item() for name, term in terms.items()}
    unlabelled = 0.5 * value["dapl"] + 2 * value["entropy"] + 0.1 * value["separation"]
    unlabelled += 0.25 * value["contrastive"]
    expected = 0.6 * unlabelled + 0.4 * (value["supervised"] + 0.75 * value["supcon"])
    assert value["total"] == pytest.approx(expected, rel=1e-5)


def anomalyncd(views: TwoViews, heads: list[PrototypeHead], tau: float) -> tuple[float, list]:
    """AnomalyNCD's loss, one sample and one class after the other."""
    u, n_base = len(views.scores), heads[0].n_base
    cluster, classify = [], []
    for head in heads:
        p = [torch.softmax(head(z) / 0.1, dim=1) for z in (views.z1, views.z2)]
        total = 0.0
        for i in range(u):
            w = max(0.0, 0.5 - float(views.scores[i]))
            for v, z in enumerate((views.z1, views.z2)):
                q = torch.softmax(head(z[i : i + 1])[0] / tau, dim=0)
                q[:n_base] = 0
                q = (1 - w) * q / q.sum()
                q[n_base] += w
                total -= float((q * p[1 - v][i].log()).sum()) / (2 * u)
        mean = torch.cat([p[0][:u], p[1][:u]]).mean(dim=0)
        memax = float((mean * mean.log()).sum()) + math.log(len(mean))
        cluster.append(total + 4 * memax)
        logs = [float(x[u + i, k].log()) for x in p for i, k in enumerate(views.labels.tolist())]
        classify.append(-sum(logs) / len(logs))
    p1, p2 = heads[0].project(views.z1), heads[0].project(views.z2)
    supcon = supervised_contrastive(torch.stack([p1[u:], p2[u:]], dim=1), views.labels, 0.07)
    unlabelled = sum(cluster) / len(heads) + float(info_nce(p1, p2, 1.0))
    return 0.7 * unlabelled + 0.3 * (sum(classify) / len(heads) + float(supcon)), cluster


def test_the_anomalyncd_preset_is_its_objective() -> None:
    with torch.no_grad():
        config = preset("anomalyncd").prototypes
        head = PrototypeHead(8, 2, 3, 4)
        heads = [head, *Rivals(head, 3, seed=0)]
        views = batch(6, [0, 1, 1, 0])
        terms = objective(views, head, 0.9, config, rivals=heads[1:], target_temperature=0.06)
        expected, cluster = anomalyncd(views, heads, 0.06)
    assert terms["total"].item() == pytest.approx(expected, rel=1e-5)
    found = [terms[f"cluster/{h}"].item() for h in range(4)]
    assert found == pytest.approx(cluster, rel=1e-5)
    assert len(set(found)) == 4


def test_generalised_pseudo_labels_run_over_all_samples_and_classes() -> None:
    config = preset("simgcd").prototypes
    head, views = PrototypeHead(8, 2, 3, 4), batch(5, [0, 1])
    terms = objective(views, head, 0.9, config)
    cosines = [head(views.z1), head(views.z2)]
    targets = [torch.softmax(c.detach() / 0.04, dim=1) for c in cosines]
    logits = [c / 0.1 for c in cosines]
    torch.testing.assert_close(terms["dapl"], cross_view(*targets, *logits))
    torch.testing.assert_close(terms["entropy"], entropy_loss(torch.cat(logits)))
    assert terms["total"].item() == pytest.approx(
        0.65 * (terms["dapl"] + 2 * terms["entropy"] + terms["contrastive"]).item()
        + 0.35 * (terms["supervised"] + terms["supcon"]).item(),
        rel=1e-5,
    )


def test_moving_prototypes_are_constants_but_for_the_separation() -> None:
    config, head, views = PrototypeConfig(update="ema"), PrototypeHead(8, 2, 3, 4), batch(5, [0, 1])
    moved = moved_prototypes(views, head, 0.0, config)
    terms = objective(views, head, 0.0, config, moved=moved)
    torch.testing.assert_close(terms["separation"], separation_loss(moved, 0.1))
    logits = torch.cat([z[5:] @ moved.detach().T for z in (views.z1, views.z2)]) / 0.1
    torch.testing.assert_close(terms["supervised"], cross_entropy(logits, views.labels.repeat(2)))
    terms["total"].backward()
    assert head.weight.grad is None
    assert torch.isfinite(grad(views.z1.grad)).all()


def test_unlabelled_samples_move_the_likeliest_novel_prototype_only() -> None:
    """Whatever base prototype they lie on."""
    head = PrototypeHead(8, 1, 2, 4)
    head.set_prototypes(torch.eye(8)[:3])
    z = F.normalize(torch.tensor([[3.0, 0.0, 1.0, 0, 0, 0, 0, 0]]), dim=1)
    views = TwoViews(z, z, torch.ones(1), torch.zeros(0, dtype=torch.int64))
    moved = moved_prototypes(views, head, 0.0, PrototypeConfig(update="ema", ema_momentum=0.5))
    assert torch.equal(moved[:2], torch.eye(8)[:2])
    assert float(moved[2] @ z[0]) > 0.8


def test_labelled_samples_move_their_own_prototype() -> None:
    head = PrototypeHead(8, 2, 2, 4)
    head.set_prototypes(torch.eye(8)[:4])
    z = torch.eye(8)[7:].clone()
    views = TwoViews(z, z, torch.zeros(0), torch.tensor([1]))
    moved = moved_prototypes(views, head, 0.0, PrototypeConfig(update="ema", ema_momentum=0.5))
    torch.testing.assert_close(moved[[0, 2, 3]], torch.eye(8)[[0, 2, 3]])
    assert float(moved[1] @ z[0]) > 0.8


def with_normal_parts(views: TwoViews, anomalous: list[bool]) -> TwoViews:
    normal1, normal2 = (F.normalize(torch.randn_like(views.z1), dim=1) for _ in "12")
    return dataclasses.replace(views, normal=(normal1, normal2), anomalous=torch.tensor(anomalous))


def test_normal_parts_are_negatives_and_go_to_the_normal_prototype() -> None:
    config, head = PrototypeConfig(normal_part_weight=0.7), PrototypeHead(8, 1, 3, 4)
    views = with_normal_parts(batch(3, [0, 0]), [True, False, True, True, True])
    assert views.normal is not None
    assert views.anomalous is not None
    terms = objective(views, head, 0.0, config)
    projected = [head.project(z) for z in (views.z1, views.z2, *views.normal)]
    torch.testing.assert_close(
        terms["contrastive"], normal_negatives(*projected, views.anomalous, 1.0)
    )
    # Of the unlabelled regions only: the labelled crops show another product.
    parts = torch.cat([z[[0, 2]] for z in views.normal])
    expected = cross_entropy(head(parts) / 0.1, torch.full((4,), 1))
    torch.testing.assert_close(terms["normal"], expected)
    plain = objective(views, head, 0.0, PrototypeConfig())
    difference = terms["total"] - plain["total"]
    torch.testing.assert_close(difference, 0.65 * 0.7 * expected)


def test_normal_parts_move_the_normal_prototype() -> None:
    head = PrototypeHead(8, 1, 2, 4)
    head.set_prototypes(torch.eye(8)[:3])
    config = PrototypeConfig(update="ema", ema_momentum=0.5)
    z = torch.eye(8)[2:3].clone()
    part = torch.eye(8)[5:6].clone()
    views = TwoViews(
        z, z, torch.ones(1), torch.zeros(0, dtype=torch.int64), (part, part), torch.tensor([True])
    )
    moved = moved_prototypes(views, head, 0.0, config)
    assert float(moved[1] @ part[0]) > 0.8
    torch.testing.assert_close(moved[2], z[0])
