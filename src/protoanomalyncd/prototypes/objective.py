"""The objective of prototype learning: known and novel classes together.

Source: the combination is *ours* (the paper's is not public); each term names its own source::

    L = (1 - lambda) [ w_d L_dapl + w_e L_ent + w_s L_sep + w_c L_con ]
        + lambda [ L_ce + w_l L_supcon ],    w_d = w_c = w_l = 1

L_dapl and L_ent are on unlabelled samples, L_con on all, L_ce and L_supcon on labelled ones. With
other settings the same terms are AnomalyNCD's and SimGCD's objectives (``research/configs/``): several
heads, whose terms are averaged, soft targets, entropy over all classes.

Prototypes learn by the gradient of L, or follow the embeddings and are constants in every term but
L_sep (CIDER): see `moved_prototypes`.

Where the batch holds the normal parts of its crops (``prototypes.normal_part_weight``, *ours*),
they are hard negatives in L_con, and w_n times their cross-entropy to the normal prototype is added
beside it.

Letters: u unlabelled, l labelled samples, n = u + l, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from protoanomalyncd.config import PrototypeConfig
from protoanomalyncd.prototypes.ema import ema_prototypes
from protoanomalyncd.prototypes.head import PrototypeHead
from protoanomalyncd.prototypes.losses import (
    cross_entropy,
    cross_view,
    entropy_loss,
    info_nce,
    normal_negatives,
    separation_loss,
    supervised_contrastive,
)
from protoanomalyncd.prototypes.pseudo_labels import corrected_targets

__all__ = ["TwoViews", "moved_prototypes", "objective"]


@dataclass(frozen=True, slots=True)
class TwoViews:
    """Embeddings of one batch in two views; unlabelled samples first.

    Args:
        z1: unit embeddings of the first view, (n, C).
        z2: of the second view, (n, C).
        scores: anomaly scores of the unlabelled samples, (u,), in [0, 1].
        labels: classes of the labelled samples, (l,).
        normal: the same crops guided to their normal part, first and second view, each (n, C);
            None = not used.
        anomalous: whether each crop holds a region, bool (n,); needed beside `normal`.
    """

    z1: Tensor
    z2: Tensor
    scores: Tensor
    labels: Tensor
    normal: tuple[Tensor, Tensor] | None = None
    anomalous: Tensor | None = None

    @property
    def normal_parts(self) -> Tensor | None:
        """Normal parts of the unlabelled regions, both views (m, C)."""
        if self.normal is None or self.anomalous is None:
            return None
        regions = self.anomalous[: len(self.scores)]
        return torch.cat([z[: len(regions)][regions] for z in self.normal])


def objective(
    batch: TwoViews,
    head: PrototypeHead,
    share: float,
    config: PrototypeConfig,
    *,
    rivals: Sequence[PrototypeHead] = (),
    target_temperature: float | None = None,
    moved: Tensor | None = None,
) -> dict[str, Tensor]:
    """All terms of a batch, and their weighted sum as ``total``.

    Args:
        batch: embeddings, unlabelled first.
        head: prototypes and projection.
        share: r in [0, 1], pseudo-labels that are one-hot.
        config: weights and temperatures.
        rivals: further sets of prototypes; their terms are averaged with the head's.
        target_temperature: of this epoch; None = the configured one.
        moved: the prototypes of `moved_prototypes` in place of the head's, which have none beside
            them then; None = they learn by gradient.

    Returns:
        name -> scalar; with rivals also ``cluster/0``, ``cluster/1``, ...: the cluster loss of each
        head, w_d L_dapl + w_e L_ent, detached.
    """
    temperature = target_temperature or config.target_temperature
    of_heads = [
        _prototype_terms(batch, one, share, temperature, config, moved) for one in (head, *rivals)
    ]
    terms = {name: torch.stack([t[name] for t in of_heads]).mean() for name in of_heads[0]}
    u = len(batch.scores)
    p1, p2 = head.project(batch.z1), head.project(batch.z2)
    if batch.normal is None or batch.anomalous is None:
        terms["contrastive"] = info_nce(p1, p2, config.contrastive_temperature)
    else:
        normal1, normal2 = (head.project(z) for z in batch.normal)
        terms["contrastive"] = normal_negatives(
            p1, p2, normal1, normal2, batch.anomalous, config.contrastive_temperature
        )
    terms["supcon"] = supervised_contrastive(
        torch.stack([p1[u:], p2[u:]], dim=1), batch.labels, config.supcon_temperature
    )
    unlabelled = (
        _cluster_loss(terms, config)
        + config.separation_weight * terms["separation"]
        + config.contrastive_weight * terms["contrastive"]
    )
    if "normal" in terms:
        unlabelled = unlabelled + config.normal_part_weight * terms["normal"]
    labelled = terms["supervised"] + config.supcon_weight * terms["supcon"]
    weight = config.supervised_weight if len(batch.labels) else 0.0
    terms["total"] = (1 - weight) * unlabelled + weight * labelled
    if rivals:
        terms |= {f"cluster/{h}": _cluster_loss(t, config).detach() for h, t in enumerate(of_heads)}
    return terms


def moved_prototypes(
    batch: TwoViews,
    head: PrototypeHead,
    share: float,
    config: PrototypeConfig,
    target_temperature: float | None = None,
) -> Tensor:
    """The prototypes after this batch, by moving average; for ``prototypes.update = "ema"``.

    Source: [ref] CIDER for the average. *Ours*: an unlabelled sample counts for the class that its
    corrected targets, summed over both views, find likeliest (CIDER's are all labelled).

    Args:
        batch: embeddings, unlabelled first.
        head: prototypes before.
        share: r in [0, 1], pseudo-labels that are one-hot.
        config: momentum and temperatures.
        target_temperature: of this epoch; None = the configured one.

    Returns:
        (K, C), unit rows, to be handed to `objective` and then, detached, to the head.
    """
    temperature = target_temperature or config.target_temperature
    before = head.prototypes.detach()
    q1, q2 = (
        _targets(z.detach() @ before.T, batch, head, share, temperature, config)
        for z in (batch.z1, batch.z2)
    )
    classes = torch.cat([(q1 + q2)[: len(batch.scores)].argmax(dim=1), batch.labels])
    z, classes = torch.cat([batch.z1, batch.z2]), classes.repeat(2)
    parts = batch.normal_parts
    if parts is not None:
        z = torch.cat([z, parts])
        classes = torch.cat([classes, classes.new_full((len(parts),), head.normal_index)])
    return ema_prototypes(before, z, classes, config.ema_momentum)


def _prototype_terms(
    batch: TwoViews,
    head: PrototypeHead,
    share: float,
    target_temperature: float,
    config: PrototypeConfig,
    moved: Tensor | None,
) -> dict[str, Tensor]:
    """The terms that one set of prototypes has for itself."""
    u = len(batch.scores)
    prototypes = head.prototypes if moved is None else moved.detach()
    cosines = (batch.z1 @ prototypes.T, batch.z2 @ prototypes.T)
    logits1, logits2 = (c / config.temperature for c in cosines)
    targets1, targets2 = (
        _targets(c, batch, head, share, target_temperature, config) for c in cosines
    )
    rows = slice(len(targets1))
    every_class = config.generalised or config.entropy_over == "all"
    columns = slice(0 if every_class else head.n_base, None)
    # A prior is known for novel classes alone.
    prior = head.prior if config.entropy_prior == "start" and not every_class else None
    mean_over = torch.cat([logits1[rows, columns], logits2[rows, columns]])
    terms = {
        "dapl": cross_view(targets1, targets2, logits1[rows], logits2[rows]),
        "entropy": entropy_loss(mean_over, prior),
        "separation": separation_loss(prototypes if moved is None else moved, config.temperature),
        "supervised": cross_entropy(torch.cat([logits1[u:], logits2[u:]]), batch.labels.repeat(2)),
    }
    parts = batch.normal_parts
    if parts is not None:
        is_normal = batch.labels.new_full((len(parts),), head.normal_index)
        terms["normal"] = cross_entropy(parts @ prototypes.T / config.temperature, is_normal)
    return terms


def _targets(
    cosines: Tensor,
    batch: TwoViews,
    head: PrototypeHead,
    share: float,
    temperature: float,
    config: PrototypeConfig,
) -> Tensor:
    """Corrected targets of one view: (n, K) -> (u, K), or (n, K) in the generalised setting."""
    rows = slice(len(cosines) if config.generalised else len(batch.scores))
    # A labelled sample is a defect, whatever a detector would say.
    scores = torch.cat([batch.scores, torch.ones_like(batch.labels, dtype=batch.scores.dtype)])
    return corrected_targets(
        cosines[rows],
        share if config.pseudo_labels == "adaptive" else 0.0,
        n_base=0 if config.generalised else head.n_base,
        scores=scores[rows] if config.normal_correction else None,
        normal_index=head.normal_index,
        temperature=temperature,
    )


def _cluster_loss(terms: dict[str, Tensor], config: PrototypeConfig) -> Tensor:
    return config.pseudo_label_weight * terms["dapl"] + config.entropy_weight * terms["entropy"]
