"""Targets that unlabelled samples learn from: soft, then hard, then corrected towards normal.

Steps of one view, in this order (the order is *ours*, each step has its source):

1. `soft_targets`: q = softmax(cos / 0.05);
2. `restrict_to_novel`: an unlabelled sample belongs to no base class;
3. `harden`: the most confident share becomes one-hot (dual-level adaptive pseudo-labels);
4. `correct_towards_normal`: where the anomaly score is low, "normal" is the likelier class.

`corrected_targets` does all four. Nothing here carries a gradient.

Example::

    share = ramp(epoch, n_epochs)
    q1 = corrected_targets(cosines1, share, n_base=4, scores=scores)
    q2 = corrected_targets(cosines2, share, n_base=4, scores=scores)
    loss = cross_view(q1, q2, cosines1 / 0.1, cosines2 / 0.1)

Letters: n samples, K = B + N classes, base classes first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "correct_towards_normal",
    "corrected_targets",
    "harden",
    "ramp",
    "restrict_to_novel",
    "soft_targets",
]


def _check_matrix(name: str, values: Tensor) -> None:
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"expected {name} (n, K) with K >= 1, got {tuple(values.shape)}")


def soft_targets(cosines: Tensor, temperature: float = 0.05) -> Tensor:
    """Sharpened predictions: softmax(cosines / temperature), detached.

    Source: [ref] mashijie1028/ProtoGCD, ``models/loss.py`` (0.05); AnomalyNCD and SimGCD use the
    same form and lower the temperature from 0.07 to 0.04 in training.

    Args:
        cosines: (n, K) cosines to the prototypes.
        temperature: of the targets.

    Returns:
        (n, K) probabilities.
    """
    _check_matrix("cosines", cosines)
    return torch.softmax(cosines.detach() / temperature, dim=1)


def harden(q: Tensor, share: float) -> Tensor:
    """Make the most confident share of a view one-hot; the rest stays soft.

    The confidence is q_1 / (q_2 + 1e-6), the largest entry over the second largest; the first
    ``int(n * share)`` samples by confidence are hardened.

    Source: [ref] mashijie1028/ProtoGCD, ``models/loss.py`` (``DistillLoss_ratio``). Differences:
    samples of equal confidence are taken in their order (there: as `torch.topk` returns them),
    and the input is not changed in place. With K = 1, q_2 = 0.

    Args:
        q: (n, K) probabilities of one view.
        share: r in [0, 1].

    Returns:
        (n, K) probabilities.
    """
    _check_matrix("q", q)
    if not 0 <= share <= 1:
        raise ValueError(f"expected share in [0, 1], got {share}")
    q = q.detach()
    n, k = q.shape
    top = q.topk(min(2, k), dim=1).values
    second = top[:, 1] if k > 1 else torch.zeros_like(top[:, 0])
    order = (top[:, 0] / (second + 1e-6)).argsort(descending=True, stable=True)
    hard = torch.zeros(n, dtype=torch.bool, device=q.device)
    hard[order[: int(n * share)]] = True
    one_hot = F.one_hot(q.argmax(dim=1), num_classes=k).to(q.dtype)
    return torch.where(hard[:, None], one_hot, q)


def ramp(epoch: int, n_epochs: int) -> float:
    """Share of hard labels: 0 in the first epoch, 1 from the last epoch of the first half on.

    Source: [ref] mashijie1028/ProtoGCD, README (``init_ratio 0``, 100 of 200 epochs; the default
    in ``train.py`` starts at 0.2). Linear, both ends included, as numpy's linspace. Ours: the
    first epoch is always 0, even when there is only one.

    Args:
        epoch: 0 for the first.
        n_epochs: length of the training.

    Returns:
        r in [0, 1].
    """
    if n_epochs < 1 or epoch < 0:
        raise ValueError(f"expected epoch >= 0 and n_epochs >= 1, got {epoch} and {n_epochs}")
    last = max(1, n_epochs // 2 - 1)
    return min(1.0, epoch / last)


def restrict_to_novel(q: Tensor, n_base: int) -> Tensor:
    """Zero the base classes and renormalise.

    Source: [ref] HUST-SLOW/AnomalyNCD, ``models/loss/_distill_loss.py`` (in place there). Ours: a
    row that has no mass on any novel class becomes uniform over them (there: nan).

    Args:
        q: (n, K) probabilities; base classes first.
        n_base: B, below K.

    Returns:
        (n, K) probabilities with zeros in the first B columns.
    """
    _check_matrix("q", q)
    k = q.shape[1]
    if not 0 <= n_base < k:
        raise ValueError(f"expected n_base in [0, {k}) for {k} classes, got {n_base}")
    novel = q[:, n_base:]
    mass = novel.sum(dim=1, keepdim=True)
    shares = torch.where(mass > 0, novel / mass, torch.full_like(novel, 1 / (k - n_base)))
    return torch.cat((torch.zeros_like(q[:, :n_base]), shares), dim=1)


def correct_towards_normal(q: Tensor, scores: Tensor, normal_index: int) -> Tensor:
    """Move the targets of samples with a low anomaly score to the normal class.

    ::

        q <- w e_normal + (1 - w) q,   w = max(0, 0.5 - s)

    Source: [ref] HUST-SLOW/AnomalyNCD, ``models/loss/_distill_loss.py`` with the weights of
    ``datasets/data_utils.py`` (``get_pseudo_label_weights``, threshold 0.5).

    Args:
        q: (n, K) probabilities.
        scores: (n,) s in [0, 1]: maximum of the normalised anomaly map inside the crop.
        normal_index: column of the normal class, in [0, K).

    Returns:
        (n, K) probabilities.
    """
    _check_matrix("q", q)
    if scores.shape != q.shape[:1]:
        raise ValueError(f"expected scores ({len(q)},), got {tuple(scores.shape)}")
    if not 0 <= normal_index < q.shape[1]:
        raise ValueError(f"expected normal_index in [0, {q.shape[1]}), got {normal_index}")
    q = q.detach()
    weight = (0.5 - scores.detach().to(q)).clamp_min(0)[:, None]
    normal = torch.zeros_like(q)
    normal[:, normal_index] = 1
    return weight * normal + (1 - weight) * q


def corrected_targets(
    cosines: Tensor,
    share: float,
    *,
    n_base: int = 0,
    scores: Tensor | None = None,
    normal_index: int | None = None,
    temperature: float = 0.05,
) -> Tensor:
    """All four steps for one view: soften, restrict, harden, correct.

    Source: the order is *ours*. With ``share = 0`` it is AnomalyNCD's pseudo-label, with
    ``n_base = 0`` and ``scores = None`` it is ProtoGCD's.

    Args:
        cosines: (n, K) cosines of unlabelled samples; base classes first.
        share: r in [0, 1] of samples that become one-hot, see `ramp`.
        n_base: B; their columns become 0.
        scores: (n,) anomaly scores in [0, 1]; None = no correction.
        normal_index: column of the normal class; None = the first novel class, B.
        temperature: of the soft targets.

    Returns:
        (n, K) probabilities.
    """
    q = harden(restrict_to_novel(soft_targets(cosines, temperature), n_base), share)
    if scores is None:
        return q
    return correct_towards_normal(q, scores, n_base if normal_index is None else normal_index)
