"""A fitted model as one torch module: crop and anomaly values -> class.

Everything from the bytes of a crop to its class is inside, so that whoever runs the graph needs to
know nothing of the method: the central window, mean and deviation, pooling of the anomaly values
to the patch grid, guidance, network, cosines, probabilities of the novel classes, outlier score and
rejection.

Letters: B crops, S side of a crop, D descriptors of a region, C channels, N novel classes, P
patches, R prefix tokens.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from protoanomalyncd.core.records import OUTLIER
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.outliers import OutlierScore, RegionFeatures
from protoanomalyncd.prototypes.pseudo_labels import restrict_to_novel
from protoanomalyncd.vit.amg_vit import GuidedEncoder

__all__ = ["INPUTS", "OUTPUTS", "ClassifierGraph", "ScoreGraph", "exported_threshold"]

INPUTS = ("image", "anomaly", "descriptors")
"""The last one only where descriptors are part of the embedding."""
OUTPUTS = ("embedding", "probabilities", "outlier_score", "confidence", "class_id")
_ROUNDING = 1e-5


def exported_threshold(threshold: float | None) -> float | None:
    """The threshold of a graph: a little higher than the model's.

    That is the score of a fitted region, which another engine's last bits must not reject.
    """
    return None if threshold is None else threshold + _ROUNDING * max(1.0, abs(threshold))


class ScoreGraph(nn.Module):
    """An outlier score alone.

    Args:
        score: fitted.
    """

    def __init__(self, score: OutlierScore) -> None:
        super().__init__()
        self._score = score

    def forward(self, embeddings: Tensor, frozen: Tensor) -> Tensor:
        """Unit embeddings (B, C) and frozen views (B, C') -> (B,), larger = more outlying."""
        return self._score.score(RegionFeatures(embeddings, frozen))


class ClassifierGraph(nn.Module):
    """What is exported; shares no weight with the model that it is made from.

    Args:
        classifier: fitted.
        crop_size: side S of the crops that it will be given [px].
    """

    def __init__(self, classifier: RegionClassifier, crop_size: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(classifier.encoder).cpu().eval()
        self.head = copy.deepcopy(classifier.head).cpu().eval()
        self.outlier = ScoreGraph(classifier.outlier_score)
        gate = classifier.gate
        self.normality = None if gate is None else copy.deepcopy(gate).cpu().eval()
        self.temperature = classifier.temperature
        self.threshold = exported_threshold(classifier.threshold)
        self.window = self.encoder.config.input_size
        self.offset = (crop_size - self.window) // 2
        _fix_positions(self.encoder, self.window)

    def forward(
        self, image: Tensor, anomaly: Tensor, descriptors: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Crops -> what `OUTPUTS` names.

        Args:
            image: RGB uint8 (B, S, S, 3).
            anomaly: anomaly values in [0, 1], (B, S, S); see `regions.anomaly_values`.
            descriptors: of the regions (B, D), where they are part of the embedding.

        Returns:
            Unit embeddings (B, C), probabilities (B, N), outlier scores (B,), largest probability
            (B,), and the model's own class ids (B,), -1 = rejected.
        """
        seen = slice(self.offset, self.offset + self.window)
        tokens = self.encoder.tokens(image[:, seen, seen], anomaly[:, seen, seen])
        z = self.encoder(replace(tokens, descriptors=descriptors))
        n_base, posterior = self.head.n_base, torch.softmax(self.head(z) / self.temperature, dim=1)
        probabilities = restrict_to_novel(posterior, n_base)[:, n_base:]
        frozen = self.encoder.frozen_view(tokens)
        if self.normality is not None:
            looks_normal = self.normality(frozen).to(probabilities.dtype)[:, None]
            first = (torch.arange(probabilities.shape[1]) == 0).to(probabilities.dtype)
            probabilities = looks_normal * first + (1 - looks_normal) * probabilities
        outlier = self.outlier(z, frozen)
        class_id = probabilities.argmax(dim=1)
        if self.threshold is not None:
            class_id = torch.where(outlier > self.threshold, OUTLIER, class_id)
        return z, probabilities, outlier, probabilities.amax(dim=1), class_id


def _fix_positions(encoder: GuidedEncoder, window: int) -> None:
    """Resample a transformer's positions to its window once, instead of inside the graph.

    timm resamples them in every exported pass (bicubic, with a filter that OpenVINO computes
    differently). Prefix tokens and positions are added to the patch tokens, whatever those are, so
    what comes out for zeros is all that has to be added.
    """
    model: Any = encoder.frozen
    if not hasattr(model, "_pos_embed"):
        return
    n_prefix = int(model.num_prefix_tokens)
    with torch.no_grad():
        patches = model.patch_embed(torch.zeros(1, 3, window, window))
        added = model._pos_embed(torch.zeros_like(patches)).clone()
    model.register_buffer("fixed_positions", added, persistent=False)

    def add_positions(x: Tensor) -> Tensor:
        """(B, rows, columns, C) -> (B, R + P, C)."""
        prefix = model.fixed_positions[:, :n_prefix].expand(x.shape[0], -1, -1)
        return torch.cat([prefix, x.flatten(1, 2) + model.fixed_positions[:, n_prefix:]], dim=1)

    model._pos_embed = add_positions
