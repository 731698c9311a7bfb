"""The training loop: short, seeded by epoch, resumable between epochs.

Source: SGD with momentum and a cosine schedule as AnomalyNCD; stored tokens and per-epoch seeds
are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from protoanomalyncd.config import PrototypeConfig, TrainingConfig
from protoanomalyncd.prototypes.head import PrototypeHead
from protoanomalyncd.prototypes.objective import TwoViews, moved_prototypes, objective
from protoanomalyncd.prototypes.pseudo_labels import ramp, target_temperature
from protoanomalyncd.prototypes.rivals import Rivals
from protoanomalyncd.training.checkpoint import load_checkpoint, save_checkpoint
from protoanomalyncd.training.start import starting_prototypes
from protoanomalyncd.training.token_cache import TokenCache
from protoanomalyncd.vit.amg_vit import GuidedEncoder

__all__ = ["Trainer", "embed_cache"]


@torch.no_grad()
def embed_cache(encoder: GuidedEncoder, cache: TokenCache, views: range | None = None) -> Tensor:
    """Mean unit embedding of each crop over some views (n, C); all of them by default."""
    device = next(encoder.tail.parameters()).device
    rows = []
    for crop in range(len(cache.cls)):
        chosen = torch.tensor(list(views or range(cache.n_views)))
        tokens = cache.pick(torch.full_like(chosen, crop), chosen)
        rows.append(encoder(tokens.to(device)).mean(dim=0).cpu())
    return torch.nn.functional.normalize(torch.stack(rows), dim=-1)


class Trainer:
    """Trains the encoder's tail and the prototypes on stored tokens.

    Args:
        encoder: its tail is trained in place.
        head: is trained in place; with `PrototypeConfig.n_heads` it ends as the best of them.
        cache: tokens of n crops.
        anomalous: whether each crop holds a region, bool (n,); False = a whole image without one.
        scores: anomaly scores (n,), in [0, 1].
        labels: known classes (n,), -1 = unlabelled.
        training: schedule.
        prototypes: weights of the objective.
        seed: of the batches and the k-means start.
    """

    def __init__(
        self,
        encoder: GuidedEncoder,
        head: PrototypeHead,
        cache: TokenCache,
        anomalous: Tensor,
        scores: Tensor,
        labels: Tensor,
        training: TrainingConfig,
        prototypes: PrototypeConfig,
        seed: int,
    ) -> None:
        self.encoder, self.head, self.cache = encoder, head, cache
        self.anomalous, self.scores, self.labels = anomalous, scores, labels
        self.training, self.prototypes, self.seed = training, prototypes, seed
        self.rivals = Rivals(head, prototypes.n_heads - 1, seed)
        self.unlabelled = torch.nonzero(labels < 0).flatten()
        self.labelled = torch.nonzero(labels >= 0).flatten()
        self.follows = prototypes.update == "ema"
        head.weight.requires_grad_(not self.follows)
        self.optimiser = torch.optim.SGD(
            [*encoder.tail.parameters(), *head.parameters(), *self.rivals.parameters()],
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
        )
        self.device = next(encoder.tail.parameters()).device

    def run(
        self,
        folder: Path | None = None,
        on_progress: Callable[[int, int, dict[str, float]], None] | None = None,
    ) -> list[dict[str, float]]:
        """Train, from the last checkpoint in `folder` on if there is one.

        Args:
            folder: of the checkpoints; None = keep none.
            on_progress: called with (epochs done, epochs, mean of each term).

        Returns:
            Mean of each term of the objective, an entry an epoch run by this call.
        """
        modules = {"tail": self.encoder.tail, "head": self.head, "rivals": self.rivals}
        first = load_checkpoint(folder, modules, self.optimiser) if folder else 0
        if first == 0:
            self._start_prototypes()
        history = []
        for epoch in range(first, self.training.epochs):
            history.append(self._epoch(epoch))
            last = epoch + 1 == self.training.epochs
            if folder and (last or (epoch + 1) % self.training.checkpoint_every == 0):
                save_checkpoint(folder, epoch + 1, modules, self.optimiser)
            if on_progress:
                on_progress(epoch + 1, self.training.epochs, history[-1])
        self.rivals.keep_best(self.head)
        if self.prototypes.settle and self.prototypes.start != "random":
            self._place_prototypes()
        return history

    def _start_prototypes(self) -> None:
        if self.prototypes.start != "random":
            self._place_prototypes()
            return
        for number, head in enumerate((self.head, *self.rivals)):
            head.draw_start(self.seed + 7919 * number)

    def _place_prototypes(self) -> None:
        """Put the prototypes where the embeddings' classes and clusters are.

        Done before training, and again after it (*ours*): pseudo-labels bring regions nearer to
        the prototype that they began with, and hold those there that a better one would have now.
        """
        embeddings = embed_cache(self.encoder, self.cache)
        for number, head in enumerate((self.head, *self.rivals)):
            start = starting_prototypes(
                embeddings,
                self.anomalous,
                self.scores,
                self.labels,
                head.n_base,
                head.n_novel,
                self.seed + number,
                by_chance=number > 0 or self.prototypes.start == "drawn",
            )
            head.set_prototypes(start.to(self.device))
            novel = start[head.n_base :]
            head.set_prior((embeddings[self.unlabelled] @ novel.T).argmax(dim=1))

    def _epoch(self, epoch: int) -> dict[str, float]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        share = ramp(epoch, self.training.epochs)
        temperature = self._target_temperature(epoch)
        batches = list(self._batches(generator))
        sums: dict[str, float] = {}
        for step, (unlabelled, labelled) in enumerate(batches):
            progress = (epoch + step / len(batches)) / self.training.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = _cosine(self.training.learning_rate, progress)
            batch = self._embed(unlabelled, labelled, generator)
            arguments = (batch, self.head, share, self.prototypes)
            moved = moved_prototypes(*arguments, temperature) if self.follows else None
            terms = objective(
                *arguments,
                rivals=list(self.rivals),
                target_temperature=temperature,
                moved=moved,
            )
            self.optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            self.optimiser.step()
            if moved is not None:
                self.head.set_prototypes(moved.detach())
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
        self.rivals.note(sums)
        return sums

    def _target_temperature(self, epoch: int) -> float:
        wanted = self.prototypes
        start = wanted.target_temperature_start or wanted.target_temperature
        return target_temperature(
            epoch,
            start,
            wanted.target_temperature,
            wanted.target_warmup_epochs,
            wanted.target_warmup_step,
        )

    def _batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Unlabelled crops once an epoch; as many labelled ones beside them, drawn by class."""
        if self.training.sampling == "weighted":
            yield from self._weighted_batches(generator)
            return
        size = self.training.batch_size // 2 if len(self.labelled) else self.training.batch_size
        order = self.unlabelled[torch.randperm(len(self.unlabelled), generator=generator)]
        n_batches = max(1, round(len(order) / size))
        for part in order.tensor_split(n_batches):
            if len(self.labelled):
                weights = (
                    1
                    / torch.bincount(self.labels[self.labelled])[
                        self.labels[self.labelled]
                    ].double()
                )
                chosen = torch.multinomial(weights, size, replacement=True, generator=generator)
                yield part, self.labelled[chosen]
            else:
                yield part, self.labelled

    def _weighted_batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """As many draws as crops, with replacement, both kinds equally likely ([ref] AnomalyNCD).

        A batch that lacks one of the two kinds is left out, as there.
        """
        everything = torch.cat([self.unlabelled, self.labelled])
        n_kinds = torch.tensor([len(self.unlabelled), len(self.labelled)])
        weights = (1 / n_kinds.clamp_min(1).double()).repeat_interleave(n_kinds)
        drawn = torch.multinomial(weights, len(everything), replacement=True, generator=generator)
        for part in drawn.split(self.training.batch_size):
            known = part >= len(self.unlabelled)
            if not bool(known.all()) and (bool(known.any()) or not len(self.labelled)):
                yield everything[part[~known]], everything[part[known]]

    def _embed(self, unlabelled: Tensor, labelled: Tensor, generator: torch.Generator) -> TwoViews:
        """Two different augmented views of each crop."""
        crops = torch.cat([unlabelled, labelled])
        n_augmented = self.cache.n_views - 1
        first = torch.randint(0, n_augmented, (len(crops),), generator=generator)
        step = torch.randint(1, n_augmented, (len(crops),), generator=generator)
        second = (first + step) % n_augmented
        z1, z2 = self._views(self.cache, crops, first, second)
        parts = self.cache.normal if self.prototypes.normal_part_weight > 0 else None
        return TwoViews(
            z1,
            z2,
            self.scores[unlabelled].to(self.device),
            self.labels[labelled].to(self.device),
            None if parts is None else self._views(parts, crops, first, second),
            self.anomalous[crops].to(self.device),
        )

    def _views(
        self, cache: TokenCache, crops: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Unit embeddings of two augmented views (numbered from 0), each (n, C)."""
        z1, z2 = (
            self.encoder(cache.pick(crops, 1 + view).to(self.device)) for view in (first, second)
        )
        return z1, z2


def _cosine(start: float, progress: float) -> float:
    """Cosine from `start` to a thousandth of it; progress in [0, 1]."""
    end = start / 1000
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
