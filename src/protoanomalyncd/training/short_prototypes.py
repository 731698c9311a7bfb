"""Prototypes alone, trained shortly on stored embeddings: what the prototype score compares.

The same terms as `objective` without the contrastive ones, which do not touch prototypes; the
encoder stays as it is, so that a candidate number of classes costs a fraction of a second. Source:
*ours*; the terms name theirs.

Letters: n samples, V views, C channels, K = B + N classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.config import PrototypeConfig
from protoanomalyncd.prototypes.losses import (
    cross_entropy,
    cross_view,
    entropy_loss,
    separation_loss,
)
from protoanomalyncd.prototypes.pseudo_labels import corrected_targets, ramp

__all__ = ["short_prototypes"]

_STEPS = 40
_LEARNING_RATE = 0.1
_MOMENTUM = 0.9


def short_prototypes(
    start: Tensor,
    views: Tensor,
    scores: Tensor,
    labels: Tensor,
    n_base: int,
    config: PrototypeConfig,
    seed: int,
) -> Tensor:
    """Train prototypes for a fixed number of steps, all samples in each.

    Args:
        start: where they start (K, C); known classes first, then normal, then the others.
        views: unit embeddings of each sample in V >= 2 views (n, V, C).
        scores: anomaly scores in [0, 1], (n,).
        labels: known class, -1 = unlabelled, (n,).
        n_base: B.
        config: weights and temperatures.
        seed: of the draw of views.

    Returns:
        Unit prototypes (K, C).
    """
    generator = torch.Generator().manual_seed(seed)
    weight = F.normalize(start, dim=-1).detach().clone().requires_grad_()
    optimiser = torch.optim.SGD([weight], lr=_LEARNING_RATE, momentum=_MOMENTUM)
    new, known = labels < 0, labels >= 0
    rows, n_views = torch.arange(len(views)), views.shape[1]
    for step in range(_STEPS):
        first = torch.randint(0, n_views, (len(views),), generator=generator)
        other = torch.randint(1, n_views, (len(views),), generator=generator)
        mu = F.normalize(weight, dim=-1)
        cosines = [views[rows, v] @ mu.T for v in (first, (first + other) % n_views)]
        targets = [
            corrected_targets(
                c[new],
                ramp(step, _STEPS),
                n_base=n_base,
                scores=scores[new],
                normal_index=n_base,
                temperature=config.target_temperature,
            )
            for c in cosines
        ]
        one, two = (c / config.temperature for c in cosines)
        unlabelled = (
            cross_view(targets[0], targets[1], one[new], two[new])
            + config.entropy_weight * entropy_loss(torch.cat([one[new], two[new]])[:, n_base:])
            + config.separation_weight * separation_loss(mu, config.temperature)
        )
        weighing = config.supervised_weight if bool(known.any()) else 0.0
        labelled = cross_entropy(torch.cat([one[known], two[known]]), labels[known].repeat(2))
        loss = (1 - weighing) * unlabelled + weighing * labelled
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return F.normalize(weight.detach(), dim=-1)
