"""vmf.py: closed forms, naive loops, samples of known kappa, limits; golden: tests/golden."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from protoanomalyncd.prototypes.bessel import scaled_bessel
from protoanomalyncd.prototypes.vmf import (
    MAX_KAPPA,
    VMFMixture,
    concentration,
    fit_mixture,
    log_normaliser,
    mean_length,
    shrink,
)


def sphere(n: int, d: int, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def sample(mu: np.ndarray, kappa: float, n: int, seed: int = 0) -> np.ndarray:
    """Wood's rejection sampler of the cosine, then a uniform direction at right angles to mu."""
    rng, d = np.random.default_rng(seed), len(mu)
    b = (d - 1) / (2 * kappa + math.hypot(2 * kappa, d - 1))
    x = (1 - b) / (1 + b)
    c = kappa * x + (d - 1) * math.log(1 - x * x)
    cosines: list[float] = []
    while len(cosines) < n:
        y = rng.beta((d - 1) / 2, (d - 1) / 2)
        w = (1 - (1 + b) * y) / (1 - (1 - b) * y)
        if kappa * w + (d - 1) * math.log(1 - x * w) - c >= math.log(rng.random()):
            cosines.append(w)
    side = rng.normal(size=(n, d))
    side -= np.outer(side @ mu, mu)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    w = np.array(cosines)[:, None]
    return w * mu + np.sqrt(1 - w * w) * side


def mixture(d: int = 6) -> VMFMixture:
    weights = np.array([0.5, 0.2, 0.3])
    return VMFMixture(sphere(3, d, seed=4), np.array([3.0, 20.0, 0.0]), weights, False)


# Functions ---------------------------------------------------------------------------------------


def test_three_dimensions_have_a_closed_form() -> None:
    kappa = np.array([0.1, 1.0, 5.0, 20.0])
    expected = np.log(kappa / (4 * np.pi * np.sinh(kappa)))
    np.testing.assert_allclose(log_normaliser(3, kappa), expected, rtol=1e-12)
    np.testing.assert_allclose(mean_length(3, kappa), 1 / np.tanh(kappa) - 1 / kappa, rtol=1e-12)


def test_two_dimensions_are_von_mises() -> None:
    angle, kappa = np.array([0.0, 1.0, 3.0]), 7.0
    found = log_normaliser(2, kappa) + kappa * np.cos(angle)
    np.testing.assert_allclose(found, stats.vonmises.logpdf(angle, kappa), rtol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 64, 4096])
def test_without_concentration_the_density_is_one_over_the_surface(d: int) -> None:
    surface = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
    assert float(log_normaliser(d, 0.0)) == pytest.approx(-surface, rel=1e-13)
    assert float(mean_length(d, 0.0)) == 0
    v = d / 2 - 1
    limit = -v * math.log(2) - math.lgamma(v + 1)
    assert float(scaled_bessel(v, np.zeros(()))[0]) == pytest.approx(limit, rel=1e-13, abs=1e-12)


def test_the_series_of_bessel_by_a_loop() -> None:
    for v, x in [(0.0, 0.5), (0.5, 3.0), (4.0, 10.0), (31.0, 8.0), (40.0, 25.0)]:
        terms = [
            math.exp((2 * m + v) * math.log(x / 2) - math.lgamma(m + 1) - math.lgamma(m + v + 1))
            for m in range(120)
        ]
        found = float(scaled_bessel(v, np.array(x))[0]) + v * math.log(x)
        assert found == pytest.approx(math.log(math.fsum(terms)))


def test_the_mean_length_is_minus_the_slope_of_the_log_normaliser() -> None:
    for d, kappa in [(2, 3.0), (64, 50.0), (512, 900.0)]:
        slope = (log_normaliser(d, kappa + 1e-3) - log_normaliser(d, kappa - 1e-3)) / 2e-3
        assert float(mean_length(d, kappa)) == pytest.approx(-float(slope), rel=1e-6)


def test_shapes_are_kept() -> None:
    kappa = np.array([[1.0, 2.0, 3.0], [4.0, 0.0, 1e5]])
    assert log_normaliser(8, kappa).shape == mean_length(8, kappa).shape == (2, 3)
    assert concentration(8, mean_length(8, kappa)).shape == (2, 3)
    assert float(mean_length(8, 4.0)) == mean_length(8, kappa)[1, 0]


@pytest.mark.parametrize("d", [2, 64, 1024])
def test_concentration_at_the_ends(d: int) -> None:
    found = concentration(d, [-0.5, 0.0, 1e-8, 1.0])
    assert found[0] == found[1] == 0
    assert found[2] == pytest.approx(d * 1e-8)
    assert found[3] == pytest.approx(MAX_KAPPA, rel=1e-3)


def test_concentration_grows_with_the_mean_length() -> None:
    assert np.all(np.diff(concentration(128, np.linspace(0, 0.999, 200))) > 0)


# Mixtures ----------------------------------------------------------------------------------------


def test_likelihoods_by_loops() -> None:
    model, z = mixture(), sphere(7, 6)
    likelihoods, density = model.log_likelihoods(z), model.log_density(z)
    for i in range(7):
        joint = []
        for k in range(3):
            cosine = sum(model.directions[k, j] * z[i, j] for j in range(6))
            expected = float(log_normaliser(6, model.kappas[k])) + model.kappas[k] * cosine
            assert likelihoods[i, k] == pytest.approx(expected)
            joint.append(model.weights[k] * math.exp(expected))
        assert density[i] == pytest.approx(math.log(sum(joint)))


def test_the_density_integrates_to_one() -> None:
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    area = np.exp(mixture(2).log_density(circle)).mean() * 2 * np.pi
    assert area == pytest.approx(1, rel=1e-9)


def test_a_row_alone_gets_what_it_gets_among_others() -> None:
    model, z = mixture(), sphere(9, 6)
    assert np.array_equal(model.log_density(z)[4:5], model.log_density(z[4:5]))
    assert model.log_likelihoods(z[:0]).shape == (0, 3)
    assert model.log_density(z[:0]).shape == (0,)


def test_the_mixture_by_loops() -> None:
    z, labels = sphere(10, 5), np.array([0, 0, 0, 1, 1, 1, 1, 1, 0, 1])
    model = fit_mixture(z, labels, "per_class")
    for k in (0, 1):
        members = [z[i] for i in range(10) if labels[i] == k]
        total = sum(members)
        length = math.sqrt(sum(x * x for x in total))
        assert model.directions[k] == pytest.approx(total / length)
        assert float(mean_length(5, model.kappas[k])) == pytest.approx(length / len(members))
    assert model.weights == pytest.approx([0.4, 0.6])
    shared = fit_mixture(z, labels)
    lengths = [np.linalg.norm(z[labels == k].sum(axis=0)) for k in (0, 1)]
    assert mean_length(5, shared.kappas) == pytest.approx([sum(lengths) / 10] * 2)


@pytest.mark.parametrize("kappa", ["shared", "per_class"])
def test_the_fit_is_the_maximum_of_the_likelihood(kappa: str) -> None:
    z, labels = sphere(30, 8), np.arange(30) % 2
    model = fit_mixture(z, labels, kappa)

    def likelihood(kappas: np.ndarray, directions: np.ndarray) -> float:
        other = VMFMixture(directions, kappas, model.weights, model.shared_kappa)
        return float(other.log_joint(z)[np.arange(30), labels].sum())

    best = likelihood(model.kappas, model.directions)
    for factor in (0.99, 1.01):
        assert likelihood(model.kappas * factor, model.directions) < best
    turned = model.directions + 0.05 * sphere(2, 8, seed=3)
    assert likelihood(model.kappas, turned / np.linalg.norm(turned, axis=1)[:, None]) < best


@pytest.mark.parametrize(("d", "kappa"), [(3, 10.0), (128, 60.0), (384, 900.0)])
def test_the_kappa_of_a_sample_is_found(d: int, kappa: float) -> None:
    z = sample(sphere(1, d)[0], kappa, 2000)
    found = fit_mixture(z, np.zeros(2000, int))
    # The squared mean length of n samples is 1/n too long on average; the rest is chance.
    assert found.kappas[0] == pytest.approx(kappa, rel=0.08)


def test_classes_of_different_spread_are_told_apart_by_their_kappas_only() -> None:
    mu = sphere(2, 64)
    z = np.concatenate([sample(mu[0], 400.0, 300), sample(mu[1], 60.0, 300)])
    labels = np.repeat([0, 1], 300)
    each, shared = fit_mixture(z, labels, "per_class"), fit_mixture(z, labels)
    assert each.kappas[0] > 4 * each.kappas[1]
    assert each.kappas[1] < shared.kappas[0] < each.kappas[0]
    assert each.bic(z) < shared.bic(z)
    assert (each.n_parameters, shared.n_parameters) == (2 * 63 + 2 + 1, 2 * 63 + 1 + 1)


def test_bic_prefers_the_true_number_of_classes() -> None:
    mu = sphere(3, 16)
    z = np.concatenate([sample(m, 80.0, 100, seed=i) for i, m in enumerate(mu)])
    three = np.repeat([0, 1, 2], 100)
    two, six = np.minimum(three, 1), three * 2 + np.arange(300) % 2
    found = {k: fit_mixture(z, labels).bic(z) for k, labels in ((2, two), (3, three), (6, six))}
    assert min(found, key=lambda k: found[k]) == 3


def test_an_empty_class_has_no_weight_and_the_shared_kappa() -> None:
    z = sphere(6, 4)
    model = fit_mixture(z, [0, 0, 0, 2, 2, 2], "per_class", n_classes=4)
    shared = fit_mixture(z, [0, 0, 0, 2, 2, 2], n_classes=4).kappas[0]
    assert model.weights.tolist() == [0.5, 0, 0.5, 0]
    assert model.kappas[[1, 3]] == pytest.approx([shared, shared])
    assert np.all(model.log_joint(z)[:, [1, 3]] == -np.inf)
    assert np.all(np.isfinite(model.log_density(z)))


def test_samples_that_coincide_have_the_largest_kappa() -> None:
    z = np.repeat(sphere(1, 32), 5, axis=0)
    model = fit_mixture(z, [0, 0, 0, 0, 0])
    assert model.kappas[0] == pytest.approx(MAX_KAPPA, rel=1e-3)
    assert np.all(np.isfinite(model.log_density(z)))


def test_a_tensor_is_an_array() -> None:
    z, labels = sphere(6, 4), [0, 1, 0, 1, 0, 1]
    tensors = torch.from_numpy(z), torch.tensor(labels)
    assert np.array_equal(fit_mixture(*tensors).kappas, fit_mixture(z, labels).kappas)
    single = fit_mixture(tensors[0].float(), tensors[1])
    assert single.kappas.dtype == np.float64
    assert single.kappas == pytest.approx(fit_mixture(z, labels).kappas, rel=1e-5)


# Shrinkage ---------------------------------------------------------------------------------------


def test_shrinkage_by_a_loop() -> None:
    found = shrink([100.0, 400.0, 7.0], [10, 30, 0], 200.0, 10.0)
    assert found[0] == pytest.approx(math.sqrt(100 * 200))
    assert found[1] == pytest.approx(400 ** (3 / 4) * 200 ** (1 / 4))
    assert found[2] == pytest.approx(200)


def test_without_strength_nothing_is_shrunk() -> None:
    assert shrink([5.0, 9.0], [1, 2], 7.0, 0.0) == pytest.approx([5, 9])
    assert shrink([5.0, 9.0], [1, 0], 7.0, 0.0) == pytest.approx([5, 7])


def test_a_small_class_looks_too_concentrated_until_it_is_shrunk() -> None:
    mu, truth = sphere(2, 128), 120.0
    z = np.concatenate([sample(mu[0], truth, 400), sample(mu[1], truth, 6, seed=1)])
    labels = np.repeat([0, 1], [400, 6])
    free = fit_mixture(z, labels, "per_class").kappas[1]
    drawn = fit_mixture(z, labels, "per_class", shrinkage=20.0).kappas[1]
    assert free > 1.2 * truth
    assert abs(drawn - truth) < abs(free - truth) / 2


# Refusals ----------------------------------------------------------------------------------------


def test_wrong_input_is_named() -> None:
    z = sphere(4, 3)
    with pytest.raises(ValueError, match="at least 2 dimensions, got 1"):
        log_normaliser(1, 2.0)
    with pytest.raises(ValueError, match="arguments of at least 0"):
        mean_length(3, -1.0)
    with pytest.raises(ValueError, match="order of at least 0, got -1"):
        scaled_bessel(-1, np.ones(1))
    with pytest.raises(ValueError, match="at most 1, got larger ones or nan"):
        concentration(3, math.nan)
    with pytest.raises(ValueError, match="off by 1"):
        fit_mixture(2 * z, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="n = 4 >= 1 rows, got \\(3,\\)"):
        fit_mixture(z, [0, 0, 1])
    with pytest.raises(ValueError, match="leave outliers"):
        fit_mixture(z, [0, 0, 1, -1])
    with pytest.raises(ValueError, match="below n_classes = 2, got 5"):
        fit_mixture(z, [0, 0, 1, 5], n_classes=2)
    with pytest.raises(ValueError, match="'shared' or 'per_class', got 'each'"):
        fit_mixture(z, [0, 0, 1, 1], "each")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unit rows \(n, 6\), got \(4, 3\)"):
        mixture().log_density(z)
