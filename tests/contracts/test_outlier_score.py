"""What holds for every registered outlier score. A new one adds its oracle to `ORACLES`.

The oracles are naive loops over one query, in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.discovery.outliers import (
    OutlierScore,
    RegionFeatures,
    create_outlier_score,
    registered,
)
from protoanomalyncd.prototypes.vmf import concentration, fit_mixture, log_normaliser, shrink
from protoanomalyncd.testing import OutlierScoreContract
from protoanomalyncd.testing.outlier_score import N_CLASSES, features, fitted, unit

Fitted = tuple[RegionFeatures, Tensor, Tensor]
"""Regions, their class ids, and the prototypes."""


def _cosines(z: Tensor, prototypes: Tensor) -> list[float]:
    return [sum(float(a) * float(b) for a, b in zip(z, mu, strict=True)) for mu in prototypes]


def _posterior(cosines: list[float]) -> list[float]:
    weights = [math.exp(c / 0.1) for c in cosines]
    return [w / sum(weights) for w in weights]


def _cosine(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    return 1 - max(_cosines(z, fitted[2]))


def _probability(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    return 1 - max(_posterior(_cosines(z, fitted[2])))


def _energy(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    return -0.1 * math.log(sum(math.exp(c / 0.1) for c in _cosines(z, fitted[2])))


def _margin(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    first, second = sorted(_posterior(_cosines(z, fitted[2])), reverse=True)[:2]
    return second - first


def _distances(z: Tensor, points: Tensor) -> list[float]:
    return [1 - float(z.double() @ key.double()) for key in points]


def _own(points: Tensor, n: int) -> list[float]:
    """Mean distance of each key to its n nearest others."""
    own = []
    for i, key in enumerate(points):
        others = sorted(_distances(key, points[[j for j in range(len(points)) if j != i]]))[:n]
        own.append(max(sum(others) / len(others), 1e-3) if others else 1.0)
    return own


def _neighbour(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    near = sorted(_distances(z, fitted[0].embeddings))
    return near[min(5, len(near)) - 1]


def _local_density(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    points = fitted[0].embeddings
    distances, own = _distances(z, points), _own(points, 4)
    near = sorted(range(len(points)), key=lambda m: distances[m])[:4]
    return sum(distances[m] for m in near) / sum(own[m] for m in near)


def _key_value_cache(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    regions, class_ids, prototypes = fitted
    distances, own = _distances(z, regions.embeddings), _own(regions.embeddings, 3)
    logits = []
    for k in range(N_CLASSES):
        members = [m for m in range(len(regions)) if int(class_ids[m]) == k]
        near = sorted((math.exp(-distances[m] / own[m]) for m in members), reverse=True)[:5]
        cache = sum(near) / len(near) if near else 0.0
        logits.append(0.5 * cache + 0.5 * float(z.double() @ prototypes[k].double()))
    return 1 - max(logits)


def _mahalanobis(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    points, class_ids = fitted[0].embeddings.double().numpy(), fitted[1].numpy()
    covariance = np.zeros((points.shape[1], points.shape[1]))
    for point in points:
        covariance += np.outer(point - points.mean(0), point - points.mean(0))
    covariance /= max(len(points) - 1, 1)
    target = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    precision = np.linalg.pinv(0.9 * covariance + 0.1 * target)
    found = []
    for k in set(class_ids.tolist()):
        offset = z.double().numpy() - points[class_ids == k].mean(0)
        found.append(offset @ precision @ offset / 2 / len(offset))
    return float(min(found))


def _vmf(z: Tensor, _: Tensor, fitted: Fitted) -> float:
    points, class_ids = fitted[0].embeddings.double().numpy(), fitted[1].numpy()
    d, counts = points.shape[1], np.bincount(class_ids, minlength=N_CLASSES)
    sums = np.array([points[class_ids == k].sum(0) for k in range(N_CLASSES)])
    lengths = np.linalg.norm(sums, axis=1)
    shared = float(concentration(d, min(lengths.sum() / len(points), 1.0)))
    own = concentration(d, np.minimum(lengths / np.maximum(counts, 1), 1.0))
    kappas = shrink(own, counts, shared, 10.0)
    logs = []
    for k in range(N_CLASSES):
        if counts[k]:
            cosine = float(z.double().numpy() @ sums[k]) / lengths[k]
            log_density = float(log_normaliser(d, kappas[k])) + kappas[k] * cosine
            logs.append(math.log(counts[k] / len(points)) + log_density)
    top = max(logs)
    return -top - math.log(sum(math.exp(value - top) for value in logs))


ORACLES: Mapping[str, Callable[[Tensor, Tensor, Fitted], float]] = {
    "cosine": _cosine,
    "energy": _energy,
    "key_value_cache": _key_value_cache,
    "local_density": _local_density,
    "mahalanobis": _mahalanobis,
    "margin": _margin,
    "neighbour": _neighbour,
    "probability": _probability,
    "vmf": _vmf,
}
ON_POINTS = ("key_value_cache", "local_density", "mahalanobis", "neighbour", "vmf")
"""Scores that take frozen views or trained embeddings."""
BETWEEN = ("margin", "probability")
"""They ask between which classes, not how far."""


@pytest.fixture(params=registered())
def score(request: pytest.FixtureRequest) -> OutlierScore:
    return create_outlier_score(request.param)


class TestScores(OutlierScoreContract):
    """Each of ours; `name` is set for each test."""

    name: str

    @pytest.fixture(autouse=True, params=registered())
    def _each(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param
        self.far_is_outlying = self.name not in BETWEEN

    def make(self) -> OutlierScore:
        return create_outlier_score(self.name)


def test_every_registered_score_is_under_contract() -> None:
    assert sorted(ORACLES) == list(registered())


@pytest.mark.parametrize("n_fitted", [2, 3, 30])
def test_it_equals_its_oracle(score: OutlierScore, n_fitted: int) -> None:
    known, queries = fitted(n_fitted), features(7)
    score.fit(*known)
    expected = [
        ORACLES[score.name](queries.embeddings[i], queries.frozen[i], known) for i in range(7)
    ]
    found, wanted = score.score(queries).double(), torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=2e-4)


def test_the_density_is_the_mixtures_own() -> None:
    """In 256 dimensions too, where densities are large: to 1e-6 of the score."""
    points, class_ids = unit(60, 256), torch.arange(60) % 2
    score, queries = create_outlier_score("vmf"), unit(9, 256)
    score.fit(RegionFeatures(points, points), class_ids, unit(N_CLASSES, 256))
    mixture = fit_mixture(
        points.numpy(), class_ids.numpy(), "per_class", n_classes=N_CLASSES, shrinkage=10.0
    )
    wanted = torch.from_numpy(-mixture.log_density(queries.numpy()))
    found = score.score(RegionFeatures(queries, queries))
    torch.testing.assert_close(found.double(), wanted, atol=0, rtol=1e-6)


@pytest.mark.parametrize("name", BETWEEN)
def test_between_two_classes_is_more_outlying_than_in_one(name: str) -> None:
    prototypes = torch.eye(12)[:N_CLASSES]
    score = create_outlier_score(name)
    score.fit(RegionFeatures(prototypes, prototypes), torch.arange(3), prototypes)
    between = F.normalize(prototypes[:1] + prototypes[1:2], dim=1)
    z = torch.cat([between, prototypes])
    found = score.score(RegionFeatures(z, z))
    assert float(found[0]) > float(found[1:].max())


@pytest.mark.parametrize("name", ON_POINTS)
def test_it_looks_at_the_points_that_it_is_told(name: str) -> None:
    known, queries = RegionFeatures(unit(20), unit(20)), RegionFeatures(unit(5), unit(5))
    class_ids, prototypes = torch.arange(20) % 2, unit(N_CLASSES)
    # Blended prototypes are compared with embeddings, whatever the points.
    alone = {"blend": 1.0} if name == "key_value_cache" else {}
    one, other = (create_outlier_score(name, {"frozen": f} | alone) for f in (True, False))
    one.fit(known, class_ids, prototypes)
    other.fit(RegionFeatures(known.frozen, known.embeddings), class_ids, prototypes)
    swapped = RegionFeatures(queries.frozen, queries.embeddings)
    assert torch.equal(one.score(queries), other.score(swapped))
    assert not torch.equal(one.score(queries), one.score(swapped))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("energy", {"temperature": 0.5}),
        ("key_value_cache", {"blend": 0.3, "nearest": 2, "sharpness": 2.0}),
        ("local_density", {"nearest": 2}),
        ("mahalanobis", {"shrinkage": 0.5}),
        ("margin", {"temperature": 0.5}),
        ("neighbour", {"k": 1}),
        ("probability", {"temperature": 0.5}),
        ("vmf", {"shrinkage": 0.0}),
    ],
)
def test_arguments_are_told_and_have_an_effect(name: str, arguments: dict[str, Any]) -> None:
    usual, changed = create_outlier_score(name), create_outlier_score(name, arguments)
    assert changed.arguments() == usual.arguments() | arguments
    known, queries = fitted(20), features(5)
    usual.fit(*known)
    changed.fit(*known)
    assert not torch.allclose(usual.score(queries), changed.score(queries))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"outliers.score: expected one of cosine, .*'x'"):
        create_outlier_score("x")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("energy", {"temperature": 0.0}),
        ("key_value_cache", {"sharpness": 0}),
        ("key_value_cache", {"blend": 1.5}),
        ("key_value_cache", {"nearest": 0}),
        ("key_value_cache", {"frozen": "yes"}),
        ("local_density", {"nearest": 0.5}),
        ("mahalanobis", {"shrinkage": 2}),
        ("neighbour", {"k": 0}),
        ("vmf", {"shrinkage": -1}),
    ],
)
def test_options_are_checked(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"outliers\.score\.{next(iter(options))}: expect"
    ):
        create_outlier_score(name, options)
