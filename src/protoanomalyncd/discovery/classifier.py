"""Crops -> classes: the fitted encoder, prototypes and outlier score at work.

Two sets of answers: the N novel classes alone, as published, or *all* classes, where the B known
ones stay available. A novel class has the same id in both, 0..N-1; the known ones follow, N..N+B-1.

Letters: R regions, I images, C channels, K = B + N classes, A = N or K classes that may win.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.core.records import OUTLIER
from protoanomalyncd.core.threads import ordered_map, worker_count
from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.discovery.outliers import OutlierScore, RegionFeatures, image_scores
from protoanomalyncd.prototypes.head import PrototypeHead
from protoanomalyncd.prototypes.pseudo_labels import restrict_to_novel
from protoanomalyncd.regions.crop_set import CropSet
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit.amg_vit import GuidedEncoder

__all__ = ["Classes", "ImageScores", "RegionClassifier", "RegionScores"]

Classes: TypeAlias = Literal["novel", "all"]
"""Which classes may win: the novel ones, or the known ones too."""


@dataclass(frozen=True, slots=True)
class RegionScores:
    """Classes of regions.

    Args:
        embeddings: unit embeddings (R, C).
        probabilities: of the classes that may win (R, A).
        class_ids: (R,), -1 = rejected.
        outlier_scores: (R,), larger = more outlying.
    """

    embeddings: Tensor
    probabilities: Tensor
    class_ids: Tensor
    outlier_scores: Tensor


@dataclass(frozen=True, slots=True)
class ImageScores:
    """Classes of images.

    Args:
        probabilities: (I, A).
        class_ids: (I,), -1 = rejected.
        outlier_scores: maximum over the image's regions, (I,).
    """

    probabilities: Tensor
    class_ids: Tensor
    outlier_scores: Tensor


@dataclass(slots=True)
class RegionClassifier:
    """A fitted model without its files.

    Args:
        encoder: crop -> embedding.
        head: embedding -> cosines.
        temperature: tau of the posterior.
        outlier_score: fitted score.
        threshold: rejects what scores higher; None = nothing.
        normality: tells which regions look normal, and belong to novel class 0; None = none do.
        has_normal: novel class 0 is the normal class; where the reserved prototype turned out to
            hold defects, nothing is put there for looking normal.
    """

    encoder: GuidedEncoder
    head: PrototypeHead
    temperature: float
    outlier_score: OutlierScore
    threshold: float | None = None
    normality: NormalGate | None = None
    has_normal: bool = True

    @property
    def gate(self) -> NormalGate | None:
        """`normality` where it takes part."""
        return self.normality if self.has_normal else None

    @torch.no_grad()
    def features(self, crops: CropSet) -> RegionFeatures:
        """Plain views of crops -> what classes and outlier scores are read from, on the CPU."""
        side = self.encoder.config.input_size
        device = self.head.weight.device
        described = torch.from_numpy(np.array(crops.descriptors)).to(device)

        def work(i: int) -> tuple[Tensor, Tensor]:
            guide = self.encoder.guide_values(crops.masks[i], crops.maps[i], crops.object_of(i))
            window, values = plain_view(crops.images[i], guide, side)
            embedding, frozen = self.encoder.features(
                torch.from_numpy(window)[None].to(device),
                torch.from_numpy(values)[None].to(device),
                described[i : i + 1],
            )
            return embedding.cpu(), frozen.cpu()

        seen = list(ordered_map(range(len(crops)), work, worker_count(device)))
        return RegionFeatures(torch.cat([s[0] for s in seen]), torch.cat([s[1] for s in seen]))

    @torch.no_grad()
    def cosines(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings (R, C) -> cosines to all prototypes, known classes first (R, K)."""
        prototypes = self.head.prototypes.cpu()
        # One row at a time, each in memory of its own: the last bits of a matrix product depend on
        # the number of rows, and on where a row begins.
        return torch.stack([prototypes @ z.clone() for z in embeddings])

    @torch.no_grad()
    def posterior(self, embeddings: Tensor, classes: Classes = "novel") -> Tensor:
        """Unit embeddings (R, C) -> probabilities of the classes that may win (R, A).

        Novel classes come first. With ``novel`` the known ones are left out and the rest is
        renormalised, as published.
        """
        n_base = self.head.n_base
        posterior = torch.softmax(self.cosines(embeddings) / self.temperature, dim=1)
        if classes == "novel" or n_base == 0:
            return restrict_to_novel(posterior, n_base)[:, n_base:]
        return torch.cat([posterior[:, n_base:], posterior[:, :n_base]], dim=1)

    @torch.no_grad()
    def probabilities(self, regions: RegionFeatures, classes: Classes = "novel") -> Tensor:
        """R regions -> `posterior`; those that look normal belong to the normal class (R, A)."""
        found, gate = self.posterior(regions.embeddings, classes), self.gate
        if gate is None:
            return found
        rows = [gate(regions.frozen[r : r + 1].to(gate.centre)) for r in range(len(regions))]
        normal = torch.zeros_like(found)
        normal[:, 0] = 1
        return torch.where(torch.cat(rows).cpu()[:, None], normal, found)

    @torch.no_grad()
    def classify(self, regions: RegionFeatures, classes: Classes = "novel") -> RegionScores:
        """R regions -> classes, region by region."""
        probabilities = self.probabilities(regions, classes)
        outlier = torch.cat(
            [self.outlier_score.score(regions[r : r + 1]) for r in range(len(regions))]
        )
        class_ids = self._reject(probabilities.argmax(dim=1), outlier)
        return RegionScores(regions.embeddings, probabilities, class_ids, outlier)

    def prototype_of(self, class_ids: Tensor) -> Tensor:
        """Class ids, novel first (R,) -> places among the prototypes, known first (R,)."""
        n_base, n_novel = self.head.n_base, self.head.n_novel
        return torch.where(class_ids < n_novel, class_ids + n_base, class_ids - n_novel)

    def merge(self, regions: RegionScores, image_index: Tensor, areas: Tensor) -> ImageScores:
        """Regions -> images.

        Args:
            regions: R regions.
            image_index: image of each region, 0..I-1, (R,).
            areas: share of the image that each region covers, (R,).
        """
        merged = merge_regions(regions.probabilities, image_index, areas)
        outlier = image_scores(regions.outlier_scores, image_index)
        return ImageScores(merged, self._reject(merged.argmax(dim=1), outlier), outlier)

    def _reject(self, class_ids: Tensor, outlier: Tensor) -> Tensor:
        if self.threshold is None:
            return class_ids
        return torch.where(outlier > self.threshold, OUTLIER, class_ids)
