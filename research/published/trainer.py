"""Training as AnomalyNCD and SimGCD do it, on the stored tokens of this program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from protoanomalyncd.prototypes.objective import TwoViews
from protoanomalyncd.prototypes.pseudo_labels import ramp
from protoanomalyncd.training import Trainer, embed_cache
from protoanomalyncd.training.start import kmeans
from research.published.heads import MultiHead, draw_start
from research.published.objective import published_objective, target_temperature
from research.published.options import Published

__all__ = ["PublishedTrainer"]


class PublishedTrainer(Trainer):
    """`Trainer` with the options of `Published`.

    Args:
        *given: as `Trainer` takes them.
        options: what is done otherwise.
    """

    def __init__(self, *given: Any, options: Published) -> None:
        super().__init__(*given)
        self.options = options
        self.multi = MultiHead(self.head, options.n_heads, self.seed)

    def modules(self) -> dict[str, nn.Module]:
        """The further heads beside the product's modules."""
        return super().modules() | {"heads": self.multi}

    def begin(self) -> None:
        """Start every head: the first at clusters, the others drawn; or all at random."""
        heads = self.multi.beside(self.head)
        if self.options.start == "random":
            for number, head in enumerate(heads):
                draw_start(head, self.seed + 7919 * number)
            return
        embeddings = embed_cache(self.encoder, self.cache)
        for number, head in enumerate(heads):
            drawn = number > 0 or self.options.start == "drawn"
            self.place(head, embeddings, self.seed + number, drawn_centres if drawn else None)

    def end(self) -> None:
        """Keep the best head, and re-initialise its prototypes where that is wanted."""
        self.multi.keep_best(self.head)
        if self.options.reinit_after_training and self.options.start != "random":
            self.begin()

    def terms(self, batch: TwoViews, epoch: int) -> dict[str, Tensor]:
        """`published_objective` at the temperature of the epoch."""
        options, last = self.options, self.prototypes.target_temperature
        temperature = target_temperature(
            epoch,
            options.target_temperature_start or last,
            last,
            options.target_warmup_epochs,
            options.target_warmup_step,
        )
        share = ramp(epoch, self.training.epochs)
        heads = self.multi.beside(self.head)
        return published_objective(batch, heads, share, temperature, self.prototypes, options)

    def end_epoch(self, means: dict[str, float]) -> None:
        """Remember how each head fared."""
        self.multi.note(means)

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """As many draws as crops, with replacement, both kinds equally likely ([ref] AnomalyNCD).

        A batch that lacks one of the two kinds is left out, as there.
        """
        if self.options.sampling == "every_crop":
            yield from super().batches(generator)
            return
        everything = torch.cat([self.unlabelled, self.labelled])
        n_kinds = torch.tensor([len(self.unlabelled), len(self.labelled)])
        weights = (1 / n_kinds.clamp_min(1).double()).repeat_interleave(n_kinds)
        drawn = torch.multinomial(weights, len(everything), replacement=True, generator=generator)
        for part in drawn.split(self.training.batch_size):
            known = part >= len(self.unlabelled)
            if not bool(known.all()) and (bool(known.any()) or not len(self.labelled)):
                yield everything[part[~known]], everything[part[known]]


def drawn_centres(embeddings: Tensor, n_clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres (k, C) and members (n,) of the best of ten runs of k-means."""
    return kmeans(embeddings.double().numpy(), n_clusters, seed)
