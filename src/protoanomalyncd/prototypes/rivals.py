"""Several independent sets of prototypes on one backbone, of which the best is kept.

Source: [ref] HUST-SLOW/AnomalyNCD, ``models/modules/_classifier.py`` (``MultiHead``) and
``models/AnomalyNCD.py``: four heads share backbone and projection, their losses are averaged, and
the head with the lowest mean cluster loss of the last epoch is reported. No label is needed to
choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from protoanomalyncd.prototypes.head import PrototypeHead

__all__ = ["Rivals"]


class Rivals(nn.Module):
    """Further heads beside a first one, and how each of them fared.

    Args:
        head: the first; the others have its classes and width.
        n_rivals: how many others, at least 0.
        seed: of their random start.

    Attributes:
        heads: the others, without a projection of their own.
        cluster_losses: mean cluster loss in the last epoch, first head first, (1 + n_rivals,).
    """

    cluster_losses: Tensor

    def __init__(self, head: PrototypeHead, n_rivals: int, seed: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList()
        with torch.random.fork_rng(devices=[]):
            for number in range(n_rivals):
                torch.manual_seed(seed + 7919 * (number + 1))
                rival = PrototypeHead(head.weight.shape[1], head.n_base, head.n_novel, 1)
                rival.projection = nn.Sequential()  # the first head's serves all
                self.heads.append(rival.to(head.weight.device))
        self.register_buffer("cluster_losses", torch.zeros(1 + n_rivals))

    def __iter__(self) -> Iterator[PrototypeHead]:
        """The further heads."""
        for head in self.heads:
            yield cast(PrototypeHead, head)

    def note(self, terms: dict[str, float]) -> None:
        """Keep the cluster losses of an epoch, ``cluster/0``, ``cluster/1``, ... of `objective`."""
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
