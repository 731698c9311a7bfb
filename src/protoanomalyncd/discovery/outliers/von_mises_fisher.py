"""How unlikely a region is under a mixture of von Mises-Fisher distributions.

Letters: R regions, C channels, K classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from protoanomalyncd.discovery.outliers.base import RegionFeatures
from protoanomalyncd.discovery.outliers.registry import Embedded, register
from protoanomalyncd.prototypes.vmf import VMFMixture, fit_mixture

__all__ = ["VonMisesFisher"]


@register("vmf")
class VonMisesFisher(Embedded):
    """-log density of the mixture whose classes are the fitted ones, of any sign.

    A class has its own concentration, drawn towards the shared one where it is small; so a loose
    class forgives more than a tight one. Source: *ours*, from the paper's mixture.

    Args:
        shrinkage: members at which a class's own concentration and the shared one weigh the same.
        frozen: look at the frozen view instead of the trained embedding.
    """

    name: ClassVar[str] = "vmf"

    def __init__(self, shrinkage: float = 10.0, frozen: bool = False) -> None:
        super().__init__(frozen)
        self.shrinkage = shrinkage

    def arguments(self) -> dict[str, Any]:
        """Shrinkage, and which points."""
        return {"shrinkage": self.shrinkage} | super().arguments()

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

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), of any sign."""
        mixture = VMFMixture(
            directions=self.kept("directions").numpy(),
            kappas=self.kept("kappas").numpy(),
            weights=self.kept("weights").numpy(),
            shared_kappa=False,
        )
        points = self.points(regions)
        return torch.from_numpy(-mixture.log_density(points.numpy())).to(points.dtype)
