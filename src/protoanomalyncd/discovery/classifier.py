"""Crops -> classes: the fitted encoder, prototypes and outlier score at work.

Letters: R regions, I images, C channels, K = B + N classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.outliers import OutlierScore
from protoanomalyncd.prototypes.head import PrototypeHead
from protoanomalyncd.prototypes.pseudo_labels import restrict_to_novel
from protoanomalyncd.structures import OUTLIER
from protoanomalyncd.training.crop_set import CropSet
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit.amg_vit import GuidedEncoder

__all__ = ["ImageScores", "RegionClassifier", "RegionScores"]


@dataclass(frozen=True, slots=True)
class RegionScores:
    """Classes of regions.

    Args:
        embeddings: unit embeddings (R, C).
        probabilities: of the N novel classes (R, N); base classes are left out, as published.
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
        probabilities: (I, N).
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
    """

    encoder: GuidedEncoder
    head: PrototypeHead
    temperature: float
    outlier_score: OutlierScore
    threshold: float | None = None

    @torch.no_grad()
    def embed(self, crops: CropSet) -> Tensor:
        """Plain views of crops -> unit embeddings (R, C), on the CPU."""
        side = self.encoder.config.input_size
        mask_only = self.encoder.config.guidance.mask_only
        device = self.head.weight.device
        rows = []
        described = torch.from_numpy(np.array(crops.descriptors)).to(device)
        for i, (image, mask, amap) in enumerate(
            zip(crops.images, crops.masks, crops.maps, strict=True)
        ):
            on_object = crops.object_of(i)
            window, values = plain_view(image, mask, amap, side, mask_only, on_object)
            rows.append(
                self.encoder.embed(
                    torch.from_numpy(window)[None].to(device),
                    torch.from_numpy(values)[None].to(device),
                    descriptors=described[i : i + 1],
                ).cpu()
            )
        return torch.cat(rows)

    @torch.no_grad()
    def classify(self, embeddings: Tensor) -> RegionScores:
        """Unit embeddings (R, C) -> classes, region by region."""
        prototypes = self.head.prototypes.cpu()
        # One row at a time: the last bits of a matrix product depend on the number of rows.
        cosines = torch.stack([prototypes @ z for z in embeddings])
        posterior = torch.softmax(cosines / self.temperature, dim=1)
        probabilities = restrict_to_novel(posterior, self.head.n_base)[:, self.head.n_base :]
        outlier = torch.cat([self.outlier_score.score(z[None]) for z in embeddings])
        return RegionScores(
            embeddings, probabilities, self._reject(probabilities.argmax(dim=1), outlier), outlier
        )

    def merge(self, regions: RegionScores, image_index: Tensor, areas: Tensor) -> ImageScores:
        """Regions -> images.

        Args:
            regions: R regions.
            image_index: image of each region, 0..I-1, (R,).
            areas: share of the image that each region covers, (R,).
        """
        merged = merge_regions(regions.probabilities, image_index, areas)
        n_images = len(merged)
        outlier = torch.full((n_images,), -np.inf).scatter_reduce(
            0, image_index, regions.outlier_scores, reduce="amax"
        )
        return ImageScores(merged, self._reject(merged.argmax(dim=1), outlier), outlier)

    def _reject(self, class_ids: Tensor, outlier: Tensor) -> Tensor:
        if self.threshold is None:
            return class_ids
        return torch.where(outlier > self.threshold, OUTLIER, class_ids)
