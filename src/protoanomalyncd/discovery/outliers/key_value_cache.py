"""The training-free cache: what the fitted regions themselves say of a new one.

Letters: R regions, M keys, C channels, K classes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from protoanomalyncd.core.checks import Range
from protoanomalyncd.discovery.outliers.base import RegionFeatures
from protoanomalyncd.discovery.outliers.neighbour import own_distances, thinned
from protoanomalyncd.discovery.outliers.registry import PointScore, register

__all__ = ["KeyValueCache"]


@register("key_value_cache")
class KeyValueCache(PointScore):
    """1 - the largest logit of a key-value cache blended with the prototypes, in [0, 2].

    Keys are the fitted crops, values their (pseudo-)labels::

        affinity_m = exp(-b (1 - z . key_m) / s_m),   in (0, 1]
        cache_k    = mean of the n largest affinities to keys of class k; 0 without keys
        logit_k    = a cache_k + (1 - a) mu_k . z
        score      = 1 - max_k logit_k

    s_m is the distance of key m to its own three nearest keys, so that a loose class reaches
    further than a tight one. The paper calls its cache "Kadapter-style" and gives no formula.
    Affinity and blend have the form of Tip-Adapter (Zhang et al. 2022); s_m, the mean of the
    nearest (classes differ in size, and Tip-Adapter's sum would favour the large ones), keys from
    the frozen view, and the score are *ours*.

    Args:
        sharpness: b, above 0; larger = only near keys count.
        blend: a, in [0, 1]; 0 = the `cosine` score.
        nearest: n, keys of a class that count, at least 1.
        frozen: keys are frozen views; False = trained embeddings.
    """

    def __init__(
        self,
        sharpness: Annotated[float, Range(0, ends="(]")] = 1.0,
        blend: Annotated[float, Range(0, 1)] = 0.5,
        nearest: Annotated[int, Range(1)] = 5,
        frozen: bool = False,
    ) -> None:
        super().__init__(frozen)
        self.sharpness, self.blend, self.nearest = sharpness, blend, nearest

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        super().load_state(state)
        # Fixed here, because no exported graph can ask for them.
        values, n_classes = self.kept("values"), len(self.kept("prototypes"))
        self._members = [torch.nonzero(values == k).flatten() for k in range(n_classes)]

    def fit(self, regions: RegionFeatures, class_ids: Tensor, prototypes: Tensor) -> None:
        """Keep keys (M, C), their scales (M,) and values (M,), and the prototypes (K, C)."""
        kept = thinned(len(regions))
        keys = self.points(regions)[kept]
        self.keep(
            keys=keys,
            scales=own_distances(keys, _SCALE_NEIGHBOURS),
            values=class_ids[kept].to(torch.int64),
            prototypes=prototypes,
        )

    def score(self, regions: RegionFeatures) -> Tensor:
        """(R,), in [0, 2]."""
        keys, scales, prototypes = (self.kept(n) for n in ("keys", "scales", "prototypes"))
        distances = (1 - self.points(regions) @ keys.T).clamp(min=0)
        affinities = torch.exp(-self.sharpness * distances / scales)
        nearest = [
            affinities[:, own].topk(min(self.nearest, len(own)), dim=1).values.mean(dim=1)
            if len(own)
            else torch.zeros_like(affinities[:, 0])
            for own in self._members
        ]
        cosines = regions.embeddings @ prototypes.T
        blended = self.blend * torch.stack(nearest, dim=1) + (1 - self.blend) * cosines
        return 1 - blended.amax(dim=1)


_SCALE_NEIGHBOURS = 3
