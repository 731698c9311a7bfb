"""The von Mises-Fisher distribution on the unit sphere, and mixtures of it.

::

    f(z; mu, kappa) = C_d(kappa) exp(kappa mu . z)
    C_d(kappa) = kappa^v / ((2 pi)^{d/2} I_v(kappa)),   v = d/2 - 1
    A_d(kappa) = I_{v+1}(kappa) / I_v(kappa), the length of the mean of f

Source: that prototypes are vMF is the paper's; the estimate of kappa is Banerjee et al.'s (2005)
start, refined by Newton on A_d(kappa) = R (Sra 2012). Shrinkage of a small class's kappa is *ours*.
numpy, float64; a detached CPU tensor may be given wherever an array is expected. (scipy's
`vonmises_fisher` returns kappa = 0 or an infinite density at the dimensions used here.)

    >>> near = np.array([[1, 0, 0], [0.6, 0.8, 0]])  # (n, d)
    >>> mixture = fit_mixture(near, np.array([0, 0]), kappa="per_class")
    >>> density = mixture.log_density(np.array([[0.8, 0.6, 0], [0, 0, 1]]))
    >>> bool(density[0] > density[1])  # larger = less outlying
    True

Letters: n samples, d dimensions, K classes, R mean resultant length in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from protoanomalyncd.prototypes.bessel import Array, scaled_bessel

__all__ = [
    "MAX_KAPPA",
    "VMFMixture",
    "concentration",
    "fit_mixture",
    "log_normaliser",
    "mean_length",
    "shrink",
]

MAX_KAPPA = 1e5
"""Largest kappa that is ever estimated: samples that all coincide would have an infinite one."""

_NEWTON_STEPS = 12
_LENGTH_TOLERANCE = 1e-3


def log_normaliser(d: int, kappa: npt.ArrayLike) -> Array:
    """Log C_d(kappa); at kappa = 0 minus the logarithm of the sphere's surface.

    Args:
        d: dimensions, at least 2.
        kappa: concentrations of any shape, at least 0.
    """
    _check_dimension(d)
    log_scaled, _ = scaled_bessel(d / 2 - 1, np.asarray(kappa, np.float64))
    normaliser: Array = -(d / 2) * np.log(2 * np.pi) - log_scaled
    return normaliser


def mean_length(d: int, kappa: npt.ArrayLike) -> Array:
    """A_d(kappa), the length of the distribution's mean, in [0, 1).

    Args:
        d: dimensions, at least 2.
        kappa: concentrations of any shape, at least 0.
    """
    _check_dimension(d)
    kappa = np.asarray(kappa, np.float64)
    return kappa * scaled_bessel(d / 2 - 1, kappa)[1]


def concentration(d: int, length: npt.ArrayLike) -> Array:
    """The kappa with A_d(kappa) = R: the maximum-likelihood estimate.

    Newton from R (d - R^2) / (1 - R^2); A_d is concave, so after one step the iterates rise to the
    solution from below.

    Args:
        d: dimensions, at least 2.
        length: mean resultant lengths R of any shape; below 0 counts as 0.

    Returns:
        kappa in [0, `MAX_KAPPA`], of the same shape.
    """
    _check_dimension(d)
    r = np.asarray(length, np.float64)
    if not np.all(r <= 1 + 1e-9):  # also refuses nan
        raise ValueError("expected mean resultant lengths of at most 1, got larger ones or nan")
    r = np.clip(r, 0.0, float(mean_length(d, MAX_KAPPA)))
    kappa = np.clip(r * (d - r**2) / (1 - r**2), 0.0, MAX_KAPPA)
    for _ in range(_NEWTON_STEPS):
        ratio = scaled_bessel(d / 2 - 1, kappa)[1]
        a = kappa * ratio
        slope = 1 - a**2 - (d - 1) * ratio  # A_d'(kappa), above 0
        kappa = np.clip(kappa - (a - r) / slope, kappa / 10, MAX_KAPPA)
    return kappa


def shrink(kappas: npt.ArrayLike, counts: npt.ArrayLike, shared: float, strength: float) -> Array:
    """Per-class kappas drawn towards the shared one, the more the smaller the class.

    ::

        log kappa_k <- w_k log kappa_k + (1 - w_k) log kappa_shared,   w_k = n_k / (n_k + strength)

    Source: *ours*. A small sample's mean is longer than the distribution's, so its kappa comes out
    too high. The logarithm, because kappa is a scale.

    Args:
        kappas: estimates (K,); what an empty class has here does not matter.
        counts: members n_k of each class (K,), may be fractional.
        shared: kappa of all classes together, above 0.
        strength: members at which a class's own estimate and the shared one weigh the same, at
            least 0; 0 = no shrinkage, except that an empty class gets the shared kappa.
    """
    counts = np.asarray(counts, np.float64)
    total = counts + strength
    weight = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    own = np.where(weight > 0, np.maximum(np.asarray(kappas, np.float64), 1e-12), shared)
    shrunk: Array = np.exp(weight * np.log(own) + (1 - weight) * np.log(shared))
    return shrunk


@dataclass(frozen=True, slots=True, eq=False)
class VMFMixture:
    """K von Mises-Fisher distributions and their weights.

    Args:
        directions: unit vectors mu (K, d); a row of zeros where a class has no direction.
        kappas: concentrations (K,), at least 0.
        weights: pi (K,), in [0, 1], their sum is 1.
        shared_kappa: one kappa was estimated for all classes; counts in `n_parameters`.
    """

    directions: Array
    kappas: Array
    weights: Array
    shared_kappa: bool

    @property
    def n_parameters(self) -> int:
        """Free parameters: K (d - 1) of directions, 1 or K kappas, K - 1 weights."""
        k, d = self.directions.shape
        kappas = 1 if self.shared_kappa else k
        return int(k * (d - 1) + kappas + k - 1)

    def log_likelihoods(self, z: npt.ArrayLike) -> Array:
        """Log f(z_i; mu_k, kappa_k) of unit rows (n, d) under each class (n, K), weights left out.

        A row's result does not depend on the other rows, not even in its last bit.
        """
        rows = _unit_rows(z, self.directions.shape[1])
        # Row by row: the last bits of a matrix product depend on the number of rows.
        cosines = np.array([self.directions @ row for row in rows])
        cosines = cosines.reshape(len(rows), len(self.kappas))
        found: Array = log_normaliser(rows.shape[1], self.kappas) + self.kappas * cosines
        return found

    def log_joint(self, z: npt.ArrayLike) -> Array:
        """Log pi_k + log f(z_i; mu_k, kappa_k), (n, K); -inf for a class of weight 0."""
        with np.errstate(divide="ignore"):
            return self.log_likelihoods(z) + np.log(self.weights)

    def log_density(self, z: npt.ArrayLike) -> Array:
        """Log density of the mixture at each row (n,); larger = less outlying."""
        density: Array = logsumexp(self.log_joint(z), axis=1)
        return density

    def bic(self, z: npt.ArrayLike) -> float:
        """Bayesian information criterion, smaller = better: p log n - 2 log likelihood."""
        density = self.log_density(z)
        return float(self.n_parameters * np.log(len(density)) - 2 * density.sum())


def fit_mixture(
    z: npt.ArrayLike,
    labels: npt.ArrayLike,
    kappa: Literal["shared", "per_class"] = "shared",
    *,
    n_classes: int | None = None,
    shrinkage: float = 0.0,
) -> VMFMixture:
    """Maximum likelihood, given who belongs to which class.

    Args:
        z: unit rows (n, d).
        labels: classes 0..K-1 (n,), whole numbers.
        kappa: one for all classes, or one each.
        n_classes: K, where the last classes may be empty; None = the largest label + 1.
        shrinkage: strength of `shrink`, for ``per_class`` only; 0 = maximum likelihood, as `bic`
            needs it.

    Raises:
        ValueError: shapes do not fit, or rows are not of unit length.
    """
    if kappa not in ("shared", "per_class"):
        raise ValueError(f"expected kappa 'shared' or 'per_class', got {kappa!r}")
    rows = _unit_rows(z)
    members = _memberships(labels, len(rows), n_classes)
    counts = members.sum(axis=0)
    sums = members.T @ rows
    lengths = np.linalg.norm(sums, axis=1)
    d = rows.shape[1]
    directions = np.divide(
        sums, lengths[:, None], out=np.zeros_like(sums), where=lengths[:, None] > 0
    )
    shared = float(concentration(d, min(1.0, lengths.sum() / counts.sum())))
    kappas = np.full(len(counts), shared)
    if kappa == "per_class":
        means = np.divide(lengths, counts, out=np.zeros_like(lengths), where=counts > 0)
        kappas = shrink(concentration(d, np.minimum(means, 1.0)), counts, shared, shrinkage)
    return VMFMixture(directions, kappas, counts / counts.sum(), kappa == "shared")


def _memberships(labels: npt.ArrayLike, n: int, n_classes: int | None) -> Array:
    """(n,) classes -> one-hot (n, K)."""
    given = np.asarray(labels)
    if given.shape != (n,) or n == 0:
        raise ValueError(f"expected labels (n,) for n = {n} >= 1 rows, got {given.shape}")
    if not np.issubdtype(given.dtype, np.integer) or given.min() < 0:
        raise ValueError("expected labels as whole numbers of at least 0; leave outliers (-1) out")
    k = int(given.max()) + 1 if n_classes is None else n_classes
    if given.max() >= k:
        raise ValueError(f"expected labels below n_classes = {k}, got {given.max()}")
    one_hot: Array = np.eye(k)[given]
    return one_hot


def _unit_rows(z: npt.ArrayLike, d: int | None = None) -> Array:
    rows = np.asarray(z, np.float64)
    if rows.ndim != 2 or rows.shape[1] < 2 or (d is not None and rows.shape[1] != d):
        raise ValueError(f"expected unit rows (n, {d or 'd >= 2'}), got {rows.shape}")
    off = np.abs(np.linalg.norm(rows, axis=1) - 1)
    if not np.all(off < _LENGTH_TOLERANCE):
        raise ValueError(f"expected rows of length 1, got one that is off by {off.max():.3g}")
    return rows


def _check_dimension(d: int) -> None:
    if d < 2:
        raise ValueError(f"expected at least 2 dimensions, got {d}")
