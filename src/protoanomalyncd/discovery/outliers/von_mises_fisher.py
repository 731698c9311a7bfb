"""How unlikely a region is under a mixture of von Mises-Fisher distributions.

Letters: R regions, C channels, K classes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from protoanomalyncd.core.checks import Range
from protoanomalyncd.discovery.outliers.base import RegionFeatures
from protoanomalyncd.discovery.outliers.registry import PointScore, register
from protoanomalyncd.prototypes.vmf import fit_mixture, log_normaliser

__all__ = ["VonMisesFisher"]

_NEVER = -1e30
"""In place of log 0."""


@register("vmf")
class VonMisesFisher(PointScore):
    """-log density of the mixture whose classes are the fitted ones, of any sign.

    A class has its own concentration, drawn towards the shared one where it is small; so a loose
    class forgives more than a tight one. Source: *ours*, from the paper's mixture.

    Args:
        shrinkage: members at which a class's own concentration and the shared one weigh the same.
        frozen: look at the frozen view instead of the trained embedding.
    """

    def __init__(self, shrinkage: Annotated[float, Range(0)] = 10.0, frozen: bool = False) -> None:
        super().__init__(frozen)
        self.shrinkage = shrinkage

    def fit(self, regions: RegionFeatures, class_ids: Tensor, prototypes: Tensor) -> None:
        """Keep directions (K, C), concentrations (K,) and weights (K,), float64."""
        mixture = fit_mixture(
            self.points(regions).numpy(),
            class_ids.numpy(),
            "per_class",
            n_classes=len(prototypes),
            shrinkage=self.shrinkage,
        )
        self.keep(
            directions=torch.from_numpy(mixture.directions),
            kappas=torch.from_numpy(mixture.kappas),
            weights=torch.from_numpy(mixture.weights),
        )

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        super().load_state(state)
        # log pi_k + log C_d(kappa_k): what does not depend on a region, so that a graph needs no
        # Bessel function.
        kappas, width = self.kept("kappas"), self.kept("directions").shape[1]
        normaliser = torch.from_numpy(log_normaliser(width, kappas.numpy()))
        # An empty class has the weight 0; its logarithm stays finite for the engines.
        self._offsets = self.kept("weights").log().clamp(min=_NEVER) + normaliser

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), of any sign."""
        directions, kappas = self.kept("directions"), self.kept("kappas")
        points = self.points(regions)
        joint = self._offsets + kappas * (points.double() @ directions.T)
        # Spelled out: not every engine's own form is safe from infinity.
        top = joint.amax(dim=1)
        total = torch.exp(joint - top[:, None]).sum(dim=1)
        return -(top + total.log()).to(points.dtype)
