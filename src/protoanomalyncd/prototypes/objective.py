"""The objective of prototype learning: known and novel classes together.

Source: the combination is *ours* (the paper's is not public); each term names its own source::

    L = (1 - lambda) [ L_dapl + w_e L_ent + w_s L_sep + L_con ] + lambda [ L_ce + L_supcon ]

L_dapl and L_ent are on unlabelled samples, L_con on all, L_ce and L_supcon on labelled ones.

Letters: u unlabelled, l labelled samples, n = u + l, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protoanomalyncd.config import PrototypeConfig
from protoanomalyncd.prototypes.head import PrototypeHead
from protoanomalyncd.prototypes.losses import (
    cross_entropy,
    cross_view,
    entropy_loss,
    info_nce,
    separation_loss,
    supervised_contrastive,
)
from protoanomalyncd.prototypes.pseudo_labels import corrected_targets

__all__ = ["TwoViews", "objective"]


@dataclass(frozen=True, slots=True)
class TwoViews:
    """Embeddings of one batch in two views; unlabelled samples first.

    Args:
        z1: unit embeddings of the first view, (n, C).
        z2: of the second view, (n, C).
        scores: anomaly scores of the unlabelled samples, (u,), in [0, 1].
        labels: classes of the labelled samples, (l,).
    """

    z1: Tensor
    z2: Tensor
    scores: Tensor
    labels: Tensor


def objective(
    batch: TwoViews, head: PrototypeHead, share: float, config: PrototypeConfig
) -> dict[str, Tensor]:
    """All terms of a batch, and their weighted sum as ``total``.

    Args:
        batch: embeddings, unlabelled first.
        head: prototypes and projection.
        share: r in [0, 1], pseudo-labels that are one-hot.
        config: weights and temperatures.

    Returns:
        name -> scalar.
    """
    u = len(batch.scores)
    cos1, cos2 = head(batch.z1), head(batch.z2)
    targets = [
        corrected_targets(
            cosines[:u],
            share,
            n_base=head.n_base,
            scores=batch.scores,
            normal_index=head.normal_index,
            temperature=config.target_temperature,
        )
        for cosines in (cos1, cos2)
    ]
    logits1, logits2 = cos1 / config.temperature, cos2 / config.temperature
    p1, p2 = head.project(batch.z1), head.project(batch.z2)
    novel = torch.cat([logits1[:u, head.n_base :], logits2[:u, head.n_base :]])
    terms = {
        "dapl": cross_view(targets[0], targets[1], logits1[:u], logits2[:u]),
        "entropy": entropy_loss(novel),
        "separation": separation_loss(head.prototypes, config.temperature),
        "contrastive": info_nce(p1, p2, config.contrastive_temperature),
        "supervised": cross_entropy(torch.cat([logits1[u:], logits2[u:]]), batch.labels.repeat(2)),
        "supcon": supervised_contrastive(
            torch.stack([p1[u:], p2[u:]], dim=1), batch.labels, config.supcon_temperature
        ),
    }
    unlabelled = (
        terms["dapl"]
        + config.entropy_weight * terms["entropy"]
        + config.separation_weight * terms["separation"]
        + terms["contrastive"]
    )
    weight = config.supervised_weight if len(batch.labels) else 0.0
    terms["total"] = (1 - weight) * unlabelled + weight * (terms["supervised"] + terms["supcon"])
    return terms
