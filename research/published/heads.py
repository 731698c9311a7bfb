"""AnomalyNCD's heads: several sets of prototypes on one backbone, and their random start.

Source: [ref] HUST-SLOW/AnomalyNCD, ``models/modules/_classifier.py`` (``MultiHead``) and
``models/AnomalyNCD.py``: four heads share backbone and projection, their losses are averaged, and
the head with the lowest mean cluster loss of the last epoch is reported. No label is needed to
choose.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from protoanomalyncd.prototypes import PrototypeHead

__all__ = ["MultiHead", "draw_start"]


class MultiHead(nn.Module):
    """Further heads beside a first one, and how each of them fared.

    Args:
        head: the first; the others have its classes and width.
        n_heads: of all, at least 1.
        seed: of the others' random start.

    Attributes:
        heads: the others, without a projection of their own.
        cluster_losses: mean cluster loss in the last epoch, first head first, (n_heads,).
    """

    cluster_losses: Tensor

    def __init__(self, head: PrototypeHead, n_heads: int, seed: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList()
        with torch.random.fork_rng(devices=[]):
            for number in range(1, n_heads):
                torch.manual_seed(seed + 7919 * number)
                other = PrototypeHead(head.weight.shape[1], head.n_base, head.n_novel)
                other.projection = nn.Sequential()  # the first head's serves all
                self.heads.append(other.to(head.weight.device))
        self.register_buffer("cluster_losses", torch.zeros(n_heads))

    def beside(self, head: PrototypeHead) -> list[PrototypeHead]:
        """All heads, the first one first."""
        return [head, *(cast(PrototypeHead, other) for other in self.heads)]

    def note(self, terms: dict[str, float]) -> None:
        """Keep the cluster losses of an epoch, ``cluster/0``, ``cluster/1``, ..."""
        for number in range(len(self.cluster_losses)):
            self.cluster_losses[number] = terms.get(f"cluster/{number}", 0.0)

    @torch.no_grad()
    def keep_best(self, head: PrototypeHead) -> int:
        """Put the prototypes of the head with the lowest cluster loss into the first one.

        Returns:
            The number of that head; 0 = the first, also where two fared the same.
        """
        best = int(self.cluster_losses.argmin())
        if best > 0:
            head.load_state_dict(self.heads[best - 1].state_dict(), strict=False)
        return best


@torch.no_grad()
def draw_start(head: PrototypeHead, seed: int) -> None:
    """Draw prototypes and projection as the published codes do.

    Source: [ref] CVMI-Lab/SimGCD, ``model.py`` (``DINOHead``), and HUST-SLOW/AnomalyNCD,
    ``models/modules/_classifier.py``. The length of a prototype counts too: theirs begin at some
    0.58, and a step of the same size turns a short one further than one of length 1.

    Args:
        head: is changed in place.
        seed: of the draw.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bound = head.weight.shape[1] ** -0.5
        head.weight.copy_(torch.empty(head.weight.shape).uniform_(-bound, bound))
        for layer in head.projection:
            if isinstance(layer, nn.Linear):
                drawn = nn.init.trunc_normal_(torch.empty(layer.weight.shape), std=0.02)
                layer.weight.copy_(drawn)
                layer.bias.zero_()
