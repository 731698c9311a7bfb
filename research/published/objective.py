"""The objectives of AnomalyNCD and SimGCD, term by term beside the product's.

They differ from `prototypes.objective` in what they do with one set of prototypes: soft targets,
of a temperature that is lowered; entropy over all classes, all alike; targets over all samples and
classes (SimGCD); and AnomalyNCD averages the terms of several heads.

Letters: u unlabelled, l labelled samples, n = u + l, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from protoanomalyncd.config import PrototypeConfig
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.prototypes.losses import (
    cross_entropy,
    cross_view,
    entropy_loss,
    separation_loss,
)
from protoanomalyncd.prototypes.objective import TwoViews, contrastive_terms, weighted_sum
from protoanomalyncd.prototypes.pseudo_labels import corrected_targets
from research.published.options import Published

__all__ = ["published_objective", "target_temperature"]


def published_objective(
    batch: TwoViews,
    heads: Sequence[PrototypeHead],
    share: float,
    temperature: float,
    config: PrototypeConfig,
    options: Published,
) -> dict[str, Tensor]:
    """All terms of a batch, and their weighted sum as ``total``.

    Args:
        batch: embeddings, unlabelled first.
        heads: sets of prototypes, whose terms are averaged; the first one's projection serves all.
        share: r in [0, 1], adaptive pseudo-labels that are one-hot.
        temperature: of the targets in this epoch.
        config: weights and temperatures.
        options: what differs from the product.

    Returns:
        name -> scalar; with several heads also ``cluster/0``, ``cluster/1``, ...: the cluster loss
        of each, w_d L_dapl + w_e L_ent, detached.
    """
    share = share if options.pseudo_labels == "adaptive" else 0.0
    each = [_terms_of(batch, head, share, temperature, config, options) for head in heads]
    terms = {name: torch.stack([t[name] for t in each]).mean() for name in each[0]}
    terms |= contrastive_terms(batch, heads[0])
    terms["total"] = weighted_sum(terms, config, len(batch.labels))
    if len(heads) > 1:
        terms |= {f"cluster/{h}": _cluster_loss(t, config).detach() for h, t in enumerate(each)}
    return terms


def _terms_of(
    batch: TwoViews,
    head: PrototypeHead,
    share: float,
    temperature: float,
    config: PrototypeConfig,
    options: Published,
) -> dict[str, Tensor]:
    """The terms that one set of prototypes has for itself."""
    u = len(batch.scores)
    rows = slice(None if options.generalised else u)
    prototypes = head.prototypes
    cosines = (batch.z1 @ prototypes.T, batch.z2 @ prototypes.T)
    logits1, logits2 = (c / config.temperature for c in cosines)
    # A labelled sample is a defect, whatever a detector would say.
    scores = torch.cat([batch.scores, torch.ones_like(batch.labels, dtype=batch.scores.dtype)])
    targets1, targets2 = (
        corrected_targets(
            c[rows],
            share,
            n_base=0 if options.generalised else head.n_base,
            scores=scores[rows] if options.normal_correction else None,
            normal_index=head.normal_index,
            temperature=temperature,
        )
        for c in cosines
    )
    every_class = options.generalised or options.entropy_over == "all"
    columns = slice(0 if every_class else head.n_base, None)
    # A prior is known for novel classes alone.
    prior = head.prior if options.entropy_prior == "start" and not every_class else None
    mean_over = torch.cat([logits1[rows, columns], logits2[rows, columns]])
    return {
        "dapl": cross_view(targets1, targets2, logits1[rows], logits2[rows]),
        "entropy": entropy_loss(mean_over, prior),
        "separation": separation_loss(prototypes, config.temperature),
        "supervised": cross_entropy(torch.cat([logits1[u:], logits2[u:]]), batch.labels.repeat(2)),
    }


def _cluster_loss(terms: dict[str, Tensor], config: PrototypeConfig) -> Tensor:
    return config.pseudo_label_weight * terms["dapl"] + config.entropy_weight * terms["entropy"]


def target_temperature(
    epoch: int, start: float, end: float, warmup_epochs: int, step: int = 1
) -> float:
    """Temperature of the soft targets: from `start` to `end`, then `end`.

    Source: [ref] CVMI-Lab/SimGCD, ``model.py`` (``DistillLoss``: 30 epochs, a value an epoch), and
    HUST-SLOW/AnomalyNCD, ``models/loss/_distill_loss.py`` (40 epochs, a value for every 4).

    Args:
        epoch: 0 for the first.
        start: of the first epoch.
        end: from epoch `warmup_epochs` on.
        warmup_epochs: epochs of the way down.
        step: epochs in a row with one value.

    Returns:
        tau.
    """
    if epoch >= warmup_epochs:
        return end
    last = warmup_epochs // step - 1
    return start + (end - start) * min(1.0, epoch // step / last) if last > 0 else start
