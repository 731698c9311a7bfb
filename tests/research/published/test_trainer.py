"""trainer.py: several heads, weighted sampling, the temperature of the targets, random starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from protoanomalyncd.training.start import merged_centres
from research.published import Published
from research.published.objective import target_temperature
from research.published.trainer import PublishedTrainer, drawn_centres
from tests.tiny import network_folder
from tests.unit.training.test_loop import N_CLUSTERS, N_EACH, assert_equal, trainer, weights


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("network") / "vit", depth=2)


def published(
    network: Path, epochs: int = 3, labelled: bool = True, **options: Any
) -> PublishedTrainer:
    kind = partial(PublishedTrainer, options=Published(**options))
    made = trainer(network, epochs, labelled, kind=kind)
    assert isinstance(made, PublishedTrainer)
    return made


def test_with_default_options_it_is_the_products_training(network: Path) -> None:
    ours, theirs = trainer(network), published(network)
    assert ours.run() == theirs.run()
    assert_equal(weights(ours), weights(theirs))


def test_the_head_with_the_lowest_cluster_loss_is_kept(network: Path, tmp_path: Path) -> None:
    made = published(network, 2, n_heads=3, start="random")
    history = made.run(tmp_path)
    losses = [history[-1][f"cluster/{h}"] for h in range(3)]
    assert made.multi.cluster_losses.tolist() == pytest.approx(losses)
    best = int(torch.tensor(losses).argmin())
    heads = made.multi.beside(made.head)
    assert torch.equal(made.head.weight, heads[best].weight)
    for number in range(3):  # whichever wins
        made.multi.cluster_losses.copy_(torch.arange(3) != number)
        expected = heads[number].weight.clone()
        assert made.multi.keep_best(made.head) == number
        assert torch.equal(made.head.weight, expected)


def test_resuming_with_several_heads(network: Path, tmp_path: Path) -> None:
    whole = published(network, 2, n_heads=3, start="random")
    whole.run(tmp_path)
    again = published(network, 2, n_heads=3, start="random")
    again.run(tmp_path)
    assert_equal(weights(again), weights(whole))


def test_heads_start_apart_and_share_one_projection(network: Path) -> None:
    made = published(network, n_heads=3, start="random")
    made.begin()
    first, second, third = (h.prototypes for h in made.multi.beside(made.head))
    assert not torch.allclose(second, third)
    assert not torch.allclose(first, second)
    assert not [name for name, _ in made.multi.named_parameters() if "projection" in name]


def test_drawn_centres_depend_on_the_seed() -> None:
    points = torch.nn.functional.normalize(torch.randn(60, 8), dim=1)
    first, second = (drawn_centres(points, 7, seed)[0] for seed in (0, 1))
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, merged_centres(points, 7, 0)[0])


def test_weighted_sampling_draws_both_kinds_equally(network: Path) -> None:
    made = published(network, sampling="weighted")
    labels = made.samples.labels
    generator, counts = torch.Generator().manual_seed(0), torch.zeros(2)
    for _ in range(50):
        for unlabelled, labelled in made.batches(generator):
            assert len(unlabelled) + len(labelled) <= made.training.batch_size
            assert (labels[unlabelled] < 0).all()
            assert (labels[labelled] >= 0).all()
            counts += torch.tensor([len(unlabelled), len(labelled)])
    assert float(counts[0] / counts.sum()) == pytest.approx(0.5, abs=0.05)
    assert int(counts.sum()) == 50 * N_CLUSTERS * N_EACH


def test_the_target_temperature_falls_in_steps() -> None:
    found = [target_temperature(epoch, 0.07, 0.04, 4, 2) for epoch in range(6)]
    assert found == pytest.approx([0.07, 0.07, 0.04, 0.04, 0.04, 0.04])


def test_prototypes_stay_where_training_left_them_where_asked(network: Path) -> None:
    made = published(network, 2, labelled=False)
    stay = published(network, 2, labelled=False, reinit_after_training=False)
    made.run()
    stay.run()
    assert not torch.allclose(stay.head.prototypes, made.head.prototypes, atol=1e-3)


def test_a_random_start_expects_classes_alike(network: Path) -> None:
    made = published(network, 1, labelled=False, start="random")
    made.run()
    torch.testing.assert_close(made.head.prior, torch.full((3,), 1 / 3))
