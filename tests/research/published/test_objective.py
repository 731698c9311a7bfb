"""heads.py, objective.py: AnomalyNCD's and SimGCD's objectives by hand, and their random start."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from protoanomalyncd.config import Config, PrototypeConfig
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.prototypes.losses import (
    cross_view,
    entropy_loss,
    info_nce,
    supervised_contrastive,
)
from protoanomalyncd.prototypes.objective import TwoViews, objective
from research.published import Published
from research.published.heads import MultiHead, draw_start
from research.published.objective import published_objective
from research.studies.study import read_settings

CONFIGS = Path(__file__).parents[3] / "research" / "configs"


def batch(u: int, labels: list[int]) -> TwoViews:
    z1, z2 = (F.normalize(torch.randn(u + len(labels), 8), dim=1) for _ in "12")
    return TwoViews(z1, z2, torch.rand(u), torch.tensor(labels, dtype=torch.int64))


def preset(name: str) -> tuple[PrototypeConfig, Published]:
    """Settings of a file in ``research/configs/``."""
    values = read_settings(CONFIGS / f"{name}.yaml")
    options = Published.from_dict(values.pop("published"))
    return Config.from_dict(values).prototypes, options


def test_with_default_options_it_is_the_products_objective() -> None:
    head, views, config = PrototypeHead(8, 2, 3), batch(6, [0, 1, 1, 0]), PrototypeConfig()
    head.set_prior(torch.tensor([0, 0, 0, 1, 2]))
    ours = objective(views, head, 0.5, config)
    found = published_objective(views, [head], 0.5, config.target_temperature, config, Published())
    assert ours.keys() == found.keys()
    assert all(torch.equal(ours[name], found[name]) for name in ours)


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
        config, options = preset("anomalyncd")
        head = PrototypeHead(8, 2, 3)
        heads = MultiHead(head, 4, seed=0).beside(head)
        views = batch(6, [0, 1, 1, 0])
        terms = published_objective(views, heads, 0.9, 0.06, config, options)
        expected, cluster = anomalyncd(views, heads, 0.06)
    assert terms["total"].item() == pytest.approx(expected, rel=1e-5)
    found = [terms[f"cluster/{h}"].item() for h in range(4)]
    assert found == pytest.approx(cluster, rel=1e-5)
    assert len(set(found)) == 4


def test_generalised_pseudo_labels_run_over_all_samples_and_classes() -> None:
    config, options = preset("simgcd")
    head, views = PrototypeHead(8, 2, 3), batch(5, [0, 1])
    terms = published_objective(views, [head], 0.9, 0.04, config, options)
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


def test_a_published_start_has_their_spread_and_is_seeded() -> None:
    heads = [PrototypeHead(192, 3, 6) for _ in range(3)]
    for head, seed in zip(heads, (0, 0, 1), strict=True):
        draw_start(head, seed)
    first, again, other = (head.state_dict() for head in heads)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["weight"], other["weight"])
    # torch's nn.Linear draws in +-1 / sqrt(C), of variance 1 / (3 C)
    assert first["weight"].norm(dim=1).mean().item() == pytest.approx(3**-0.5, rel=0.05)
    for number in (0, 2, 4):
        weight, bias = first[f"projection.{number}.weight"], first[f"projection.{number}.bias"]
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not bias.any()
