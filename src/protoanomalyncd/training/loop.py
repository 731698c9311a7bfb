"""The training loop: short, seeded by epoch, resumable between epochs.

Source: SGD with momentum and a cosine schedule as AnomalyNCD; stored tokens and per-epoch seeds
are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from protoanomalyncd.config import PrototypeConfig, TrainingConfig
from protoanomalyncd.prototypes.head import PrototypeHead
from protoanomalyncd.prototypes.objective import TwoViews, objective
from protoanomalyncd.prototypes.pseudo_labels import ramp
from protoanomalyncd.training.checkpoint import load_checkpoint, save_checkpoint
from protoanomalyncd.training.samples import Samples
from protoanomalyncd.training.start import FindCentres, starting_prototypes
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

    Another method of training is a subclass that replaces `begin`, `terms`, `batches` or `end`.

    Args:
        encoder: its tail is trained in place.
        head: is trained in place.
        cache: tokens of n crops.
        samples: of the same crops.
        training: schedule.
        prototypes: weights of the objective.
        seed: of the batches and of the start.
    """

    def __init__(
        self,
        encoder: GuidedEncoder,
        head: PrototypeHead,
        cache: TokenCache,
        samples: Samples,
        training: TrainingConfig,
        prototypes: PrototypeConfig,
        seed: int,
    ) -> None:
        self.encoder, self.head, self.cache, self.samples = encoder, head, cache, samples
        self.training, self.prototypes, self.seed = training, prototypes, seed
        self.unlabelled = torch.nonzero(samples.labels < 0).flatten()
        self.labelled = torch.nonzero(samples.labels >= 0).flatten()
        self.device = next(encoder.tail.parameters()).device

    def modules(self) -> dict[str, nn.Module]:
        """What is trained, by its name in a checkpoint."""
        return {"tail": self.encoder.tail, "head": self.head}

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
        modules = self.modules()
        optimiser = torch.optim.SGD(
            [parameter for module in modules.values() for parameter in module.parameters()],
            lr=self.training.learning_rate,
            momentum=self.training.momentum,
            weight_decay=self.training.weight_decay,
        )
        first = load_checkpoint(folder, modules, optimiser) if folder else 0
        if first == 0:
            self.begin()
        history = []
        for epoch in range(first, self.training.epochs):
            history.append(self._epoch(epoch, optimiser))
            if folder:
                save_checkpoint(folder, epoch + 1, modules, optimiser)
            if on_progress:
                on_progress(epoch + 1, self.training.epochs, history[-1])
        self.end()
        return history

    def begin(self) -> None:
        """Put the prototypes where the embeddings' classes and clusters are."""
        embeddings = embed_cache(self.encoder, self.cache)
        self.place(self.head, embeddings, self.seed)

    def end(self) -> None:
        """Re-initialise the prototypes at the clusters of the trained embeddings (*ours*).

        Pseudo-labels bring regions nearer to the prototype that they began with, and hold those
        there that a better one would have now.
        """
        self.begin()

    def place(
        self, head: PrototypeHead, embeddings: Tensor, seed: int, find: FindCentres | None = None
    ) -> None:
        """Put prototypes at classes and clusters, and expect classes as large as these.

        Args:
            head: whose prototypes.
            embeddings: of all crops (n, C).
            seed: of what is drawn by chance.
            find: see `starting_prototypes`.
        """
        n_base, n_novel = head.n_base, head.n_novel
        start = starting_prototypes(embeddings, self.samples, n_base, n_novel, seed, find)
        head.set_prototypes(start.to(self.device))
        head.set_prior((embeddings[self.unlabelled] @ start[n_base:].T).argmax(dim=1))

    def terms(self, batch: TwoViews, epoch: int) -> dict[str, Tensor]:
        """The objective's terms of a batch, and their weighted sum as ``total``."""
        return objective(batch, self.head, ramp(epoch, self.training.epochs), self.prototypes)

    def end_epoch(self, means: dict[str, float]) -> None:
        """Called with the mean of each term after every epoch, before its checkpoint."""

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Unlabelled crops once an epoch; as many labelled ones beside them, drawn by class."""
        size = self.training.batch_size // 2 if len(self.labelled) else self.training.batch_size
        order = self.unlabelled[torch.randperm(len(self.unlabelled), generator=generator)]
        known = self.samples.labels[self.labelled]
        for part in order.tensor_split(max(1, round(len(order) / size))):
            if len(self.labelled):
                weights = 1 / torch.bincount(known)[known].double()
                chosen = torch.multinomial(weights, size, replacement=True, generator=generator)
                yield part, self.labelled[chosen]
            else:
                yield part, self.labelled

    def _epoch(self, epoch: int, optimiser: torch.optim.SGD) -> dict[str, float]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        batches = list(self.batches(generator))
        sums: dict[str, float] = {}
        for step, (unlabelled, labelled) in enumerate(batches):
            progress = (epoch + step / len(batches)) / self.training.epochs
            for group in optimiser.param_groups:
                group["lr"] = _cosine(self.training.learning_rate, progress)
            terms = self.terms(self._embed(unlabelled, labelled, generator), epoch)
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            optimiser.step()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
        self.end_epoch(sums)
        return sums

    def _embed(self, unlabelled: Tensor, labelled: Tensor, generator: torch.Generator) -> TwoViews:
        """Two different augmented views of each crop."""
        crops = torch.cat([unlabelled, labelled])
        n_augmented = self.cache.n_views - 1
        first = torch.randint(0, n_augmented, (len(crops),), generator=generator)
        step = torch.randint(1, n_augmented, (len(crops),), generator=generator)
        z1, z2 = (
            self.encoder(self.cache.pick(crops, 1 + view).to(self.device))
            for view in (first, (first + step) % n_augmented)
        )
        scores, labels = self.samples.scores[unlabelled], self.samples.labels[labelled]
        return TwoViews(z1, z2, scores.to(self.device), labels.to(self.device))


def _cosine(start: float, progress: float) -> float:
    """Cosine from `start` to a thousandth of it; progress in [0, 1]."""
    end = start / 1000
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
