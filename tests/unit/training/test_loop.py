"""loop.py and checkpoint.py: exact resuming, falling losses, the schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protoanomalyncd.config import PrototypeConfig, TrainingConfig
from protoanomalyncd.core.errors import ModelFormatError
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.training import Samples, TokenCache, Trainer, embed_cache
from protoanomalyncd.training.checkpoint import load_checkpoint, save_checkpoint
from protoanomalyncd.vit import GuidedEncoder
from tests.tiny import tiny_encoder

N_CLUSTERS, N_EACH, WIDTH = 3, 8, 64


def toy_cache(noise: float = 0.3) -> tuple[TokenCache, Tensor]:
    """Separable tokens: each cluster has a direction of its own. Returns the clusters too."""
    generator = torch.Generator().manual_seed(4)
    clusters = torch.arange(N_CLUSTERS).repeat_interleave(N_EACH)
    centres = torch.randn(N_CLUSTERS, WIDTH, generator=generator)[clusters]
    shape = (len(clusters), 3, 4, WIDTH)
    patches = centres[:, None, None] + noise * torch.randn(shape, generator=generator)
    cls = patches.mean(dim=2)
    return TokenCache(cls.bfloat16(), patches.bfloat16(), torch.zeros(shape[:3])), clusters


def trainer(
    network: Path,
    epochs: int = 3,
    labelled: bool = True,
    seed: int = 0,
    kind: Callable[..., Trainer] = Trainer,
    **prototypes: Any,
) -> Trainer:
    """A fresh encoder and head; the last cluster is labelled, or nothing is."""
    cache, clusters = toy_cache()
    labels = (
        torch.where(clusters == N_CLUSTERS - 1, 0, -1) if labelled else -torch.ones_like(clusters)
    )
    torch.manual_seed(seed)
    encoder = tiny_encoder(network)
    head = PrototypeHead(WIDTH, int(labelled), 2 if labelled else 3)
    training = TrainingConfig(epochs=epochs, views=2, batch_size=24)
    wanted = PrototypeConfig(**prototypes)
    found = torch.ones(len(labels), dtype=torch.bool)
    samples = Samples(found, torch.linspace(0, 1, len(clusters)), labels)
    return kind(encoder, head, cache, samples, training, wanted, seed)


def weights(made: Trainer) -> dict[str, Tensor]:
    return {
        **{f"tail/{k}": v.clone() for k, v in made.encoder.tail.state_dict().items()},
        **{f"head/{k}": v.clone() for k, v in made.head.state_dict().items()},
    }


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("labelled", [True, False])
def test_the_loss_falls_and_clusters_come_apart(network: Path, labelled: bool) -> None:
    made = trainer(network, 6, labelled)
    before = weights(made)
    history = made.run()
    assert len(history) == 6
    assert history[-1]["total"] < history[0]["total"]
    after = weights(made)
    assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith("tail/"))
    crops = torch.arange(N_CLUSTERS * N_EACH)
    z = made.encoder(made.cache.pick(crops, torch.zeros_like(crops)))
    classes = made.head(z).argmax(dim=1).view(N_CLUSTERS, N_EACH)
    assert all(len(row.unique()) == 1 for row in classes)
    assert len(classes[:, 0].unique()) == N_CLUSTERS


class StopError(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 2])
def test_resuming_equals_uninterrupted_training(
    network: Path, tmp_path: Path, stop_after: int
) -> None:
    whole = trainer(network)
    history = whole.run(tmp_path / "whole")

    def stop(done: int, total: int, terms: dict[str, float]) -> None:
        if done == stop_after:
            raise StopError

    with pytest.raises(StopError):
        trainer(network).run(tmp_path / "broken", stop)
    resumed = trainer(network, seed=0)
    with torch.no_grad():  # what a new process has drawn does not matter
        resumed.head.weight.normal_()
    rest = resumed.run(tmp_path / "broken")
    assert rest == history[stop_after:]
    assert_equal(weights(resumed), weights(whole))


def test_a_finished_training_is_only_read(network: Path, tmp_path: Path) -> None:
    whole = trainer(network, 2)
    whole.run(tmp_path)
    again = trainer(network, 2)
    assert again.run(tmp_path) == []
    assert_equal(weights(again), weights(whole))


def test_checkpoints_in_between_do_not_change_the_training(network: Path, tmp_path: Path) -> None:
    kept, bare = trainer(network, 2), trainer(network, 2)
    kept.run(tmp_path)
    bare.run(None)
    assert_equal(weights(kept), weights(bare))


def test_another_seed_gives_another_training(network: Path) -> None:
    first, second = trainer(network, 1), trainer(network, 1, seed=1)
    first.run()
    second.run()
    assert not torch.equal(first.head.weight, second.head.weight)


def test_the_learning_rate_follows_a_cosine_to_a_thousandth(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(network, 4)
    seen: list[float] = []
    step = torch.optim.SGD.step

    def watched(optimiser: torch.optim.SGD) -> None:
        seen.append(optimiser.param_groups[0]["lr"])
        step(optimiser)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    made.run()
    assert seen[0] == pytest.approx(made.training.learning_rate)
    assert seen == sorted(seen, reverse=True)
    assert made.training.learning_rate / 1000 < seen[-1] < made.training.learning_rate / 4


def test_the_two_views_of_a_crop_are_different_and_augmented(network: Path) -> None:
    made, asked = trainer(network), []
    cache = made.cache

    class Watched:
        n_views = cache.n_views

        def pick(self, crops: Tensor, views: Tensor) -> object:
            asked.append(views)
            return cache.pick(crops, views)

    made.cache = Watched()  # type: ignore[assignment]
    made._embed(made.unlabelled, made.labelled, torch.Generator().manual_seed(0))
    first, second = asked
    assert (first != second).all()
    assert min(first.min(), second.min()) >= 1


def test_every_unlabelled_crop_comes_once_an_epoch(network: Path) -> None:
    made = trainer(network)
    batches = list(made.batches(torch.Generator().manual_seed(0)))
    seen = torch.cat([unlabelled for unlabelled, _ in batches]).sort().values
    assert torch.equal(seen, made.unlabelled)
    assert all(len(labelled) == 12 for _, labelled in batches)


def modules() -> tuple[dict[str, nn.Module], torch.optim.SGD]:
    made: dict[str, nn.Module] = {"a": nn.Linear(3, 2), "b": nn.Linear(2, 1)}
    parameters = [p for module in made.values() for p in module.parameters()]
    return made, torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def step(made: dict[str, nn.Module], optimiser: torch.optim.SGD) -> None:
    optimiser.zero_grad()
    made["b"](F.relu(made["a"](torch.ones(4, 3)))).sum().backward()
    optimiser.step()


def test_a_checkpoint_holds_parameters_and_momentum(tmp_path: Path) -> None:
    first, optimiser = modules()
    for epoch in range(1, 4):
        step(first, optimiser)
        save_checkpoint(tmp_path, epoch, first, optimiser)
    second, other = modules()
    assert load_checkpoint(tmp_path, second, other) == 3
    step(first, optimiser)
    step(second, other)
    for name in first:
        assert_equal(first[name].state_dict(), second[name].state_dict())


def test_without_a_checkpoint_training_starts_at_0(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", *modules()) == 0


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    made, optimiser = modules()
    save_checkpoint(tmp_path, 1, made, optimiser)
    (tmp_path / "checkpoint-1.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelFormatError, match="expected a safetensors file"):
        load_checkpoint(tmp_path, made, optimiser)


def test_a_kill_while_writing_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, optimiser = modules()
    save_checkpoint(tmp_path, 1, made, optimiser)
    before = made["a"].weight.detach().clone()
    step(made, optimiser)

    def killed(*_: object) -> None:
        raise StopError

    monkeypatch.setattr("protoanomalyncd.training.checkpoint.write_json", killed)
    with pytest.raises(StopError):
        save_checkpoint(tmp_path, 2, made, optimiser)
    other, its = modules()
    assert load_checkpoint(tmp_path, other, its) == 1
    assert torch.equal(other["a"].weight, before)


def test_the_encoder_is_trained_in_place(network: Path, encoder: GuidedEncoder) -> None:
    frozen = {k: v.clone() for k, v in encoder.frozen.state_dict().items()}
    made = trainer(network, 1)
    made.encoder = encoder
    made.run()
    assert_equal(frozen, dict(encoder.frozen.state_dict()))


def test_prototypes_end_where_the_trained_clusters_are(network: Path) -> None:
    """Wherever training leaves them: at the means of their own trained embeddings."""
    made = trainer(network, epochs=2, labelled=False)
    made.run()
    z = embed_cache(made.encoder, made.cache)
    members = made.head(z).argmax(dim=1)
    for k in range(made.head.n_novel):
        centre = F.normalize(z[members == k].mean(dim=0), dim=0)
        torch.testing.assert_close(made.head.prototypes[k], centre, atol=1e-4, rtol=0)


def test_the_prior_is_the_size_of_the_starting_clusters(network: Path) -> None:
    made = trainer(network, epochs=1, labelled=False)
    made.run()
    expected = 0.9 * torch.full((3,), 1 / 3) + 0.1 / 3
    torch.testing.assert_close(made.head.prior, expected)
    made.head.set_prior(torch.tensor([0, 0, 0, 2]))
    torch.testing.assert_close(made.head.prior, torch.tensor([0.9 * 3 / 4, 0, 0.9 / 4]) + 0.1 / 3)
