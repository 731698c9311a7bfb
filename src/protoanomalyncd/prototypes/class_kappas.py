"""Class probabilities where every class has a concentration of its own.

::

    p(k|z) = softmax_k( [log C_d(kappa_k) + kappa_k mu_k . z] / (kappa tau) )

kappa_k is estimated from the fitted regions of class k, kappa from all of them together. A tight
class then claims less room than a loose one at the same cosine. With kappa_k = kappa for all k this
is softmax(cos / tau), the posterior of shared concentration: the division by kappa tau keeps the
confidences on that scale, since those of an untempered mixture are 0 or 1 in this many dimensions
(kappa is some hundreds, 1 / tau is 10).

Source: the vMF mixture is the paper's, its tempering *ours*.

Letters: R regions, N novel classes, d dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.prototypes.vmf import concentration, log_normaliser, shrink

__all__ = ["ClassKappas", "fit_kappas"]

_SHRINKAGE = 20.0
"""Regions at which a class's own kappa and the shared one weigh the same; not tuned."""
_SMALLEST = 1.0
"""A kappa below it is a uniform distribution in any dimension used here."""


@dataclass(frozen=True, slots=True)
class ClassKappas:
    """Concentrations of N classes on the sphere in d dimensions.

    Args:
        kappas: of each class, above 0.
        shared: of all classes together, above 0.
        d: dimensions.
    """

    kappas: tuple[float, ...]
    shared: float
    d: int

    def line(self, temperature: float) -> tuple[Tensor, Tensor]:
        """Slope and offset of each class's logit in its cosine, both (N,), float64.

        Args:
            temperature: tau of the shared posterior.
        """
        kappas = torch.tensor(self.kappas, dtype=torch.float64)
        normalisers = torch.from_numpy(log_normaliser(self.d, np.array(self.kappas)))
        scale = self.shared * temperature
        middle = float(log_normaliser(self.d, self.shared))
        return kappas / scale, (normalisers - middle) / scale

    def logits(self, cosines: Tensor, temperature: float) -> Tensor:
        """Cosines to the N prototypes (R, N) -> logits (R, N), in the dtype given.

        cos / tau for a class of the shared kappa, such as a known one.

        Args:
            cosines: to the prototypes.
            temperature: tau of the shared posterior.
        """
        slope, offset = self.line(temperature)
        return (slope * cosines.double() + offset).to(cosines.dtype)

    def reordered(self, order: list[int]) -> ClassKappas:
        """Class ``order[k]`` at place k."""
        return ClassKappas(tuple(self.kappas[k] for k in order), self.shared, self.d)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which keeps every bit."""
        return {"kappas": list(self.kappas), "shared": self.shared, "d": self.d}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClassKappas:
        """Inverse of `to_dict`."""
        return cls(tuple(values["kappas"]), values["shared"], values["d"])


def fit_kappas(cosines: Tensor, d: int) -> ClassKappas:
    """Estimate from fitted regions, each of them counted for its nearest prototype.

    A prototype is the class's mean direction, so A_d(kappa_k) is the mean cosine to it. Classes of
    few regions are drawn to the shared kappa (`shrink`), empty ones get it.

    Args:
        cosines: to the prototypes (R, N).
        d: dimensions of the embedding.
    """
    values = cosines.double().numpy()
    nearest = values.argmax(axis=1)
    own = values[np.arange(len(values)), nearest]
    counts = np.bincount(nearest, minlength=values.shape[1])
    sums = np.bincount(nearest, weights=own, minlength=values.shape[1])
    means = np.clip(sums / np.maximum(counts, 1), 0, 1)
    mean = float(np.clip(own.mean(), 0, 1)) if len(own) else 0.0
    shared = max(_SMALLEST, float(concentration(d, mean)))
    kappas = np.maximum(_SMALLEST, concentration(d, means))
    shrunk = shrink(kappas, counts, shared, _SHRINKAGE)
    return ClassKappas(tuple(shrunk.tolist()), shared, d)
