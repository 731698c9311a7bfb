"""The objective of prototype learning: known and novel classes together.

Source: the combination is *ours* (the paper's is not public); each term names its own source::

    L = (1 - lambda) [ w_d L_dapl + w_e L_ent + w_s L_sep + w_c L_con ]
        + lambda [ L_ce + w_l L_supcon ],    w_d = w_c = w_l = 1

L_dapl and L_ent are on unlabelled samples, L_con on all, L_ce and L_supcon on labelled ones. What
AnomalyNCD and SimGCD do otherwise: ``research/published/objective.py``.

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

__all__ = ["TwoViews", "contrastive_terms", "objective", "weighted_sum"]


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
    u, prototypes = len(batch.scores), head.prototypes
    cosines = (batch.z1 @ prototypes.T, batch.z2 @ prototypes.T)
    logits1, logits2 = (c / config.temperature for c in cosines)
    targets1, targets2 = (
        corrected_targets(
            c[:u],
            share,
            n_base=head.n_base,
            scores=batch.scores,
            normal_index=head.normal_index,
            temperature=config.target_temperature,
        )
        for c in cosines
    )
    novel = torch.cat([logits1[:u, head.n_base :], logits2[:u, head.n_base :]])
    terms = {
        "dapl": cross_view(targets1, targets2, logits1[:u], logits2[:u]),
        "entropy": entropy_loss(novel, head.prior),
        "separation": separation_loss(prototypes, config.temperature),
        "supervised": cross_entropy(torch.cat([logits1[u:], logits2[u:]]), batch.labels.repeat(2)),
    }
    terms |= contrastive_terms(batch, head)
    return terms | {"total": weighted_sum(terms, config, len(batch.labels))}


def contrastive_terms(batch: TwoViews, head: PrototypeHead) -> dict[str, Tensor]:
    """The terms on projections: ``contrastive`` and ``supcon``."""
    u = len(batch.scores)
    p1, p2 = head.project(batch.z1), head.project(batch.z2)
    return {
        "contrastive": info_nce(p1, p2),
        "supcon": supervised_contrastive(torch.stack([p1[u:], p2[u:]], dim=1), batch.labels),
    }


def weighted_sum(terms: dict[str, Tensor], config: PrototypeConfig, n_labelled: int) -> Tensor:
    """L of the terms; without a labelled sample the unlabelled terms have all the weight."""
    unlabelled = (
        config.pseudo_label_weight * terms["dapl"]
        + config.entropy_weight * terms["entropy"]
        + config.separation_weight * terms["separation"]
        + config.contrastive_weight * terms["contrastive"]
    )
    labelled = terms["supervised"] + config.supcon_weight * terms["supcon"]
    weight = config.supervised_weight if n_labelled else 0.0
    return (1 - weight) * unlabelled + weight * labelled
