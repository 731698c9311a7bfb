from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from protoanomalyncd.anomaly_maps.reservoir import PatchReservoir

N_PATCHES = 20


def _key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _keep(order: list[int], capacity: int, seed: int = 0) -> tuple[torch.Tensor, list[str]]:
    """Patches are (image number, position), so that each can be told apart."""
    reservoir = PatchReservoir(capacity, seed)
    for number in order:
        patches = torch.tensor([[number, position] for position in range(N_PATCHES)]).float()
        priorities = reservoir.draw(_key(number), N_PATCHES)
        if reservoir.wants(priorities):
            reservoir.add(_key(number), priorities, patches)
    return reservoir.result()


@pytest.mark.parametrize("capacity", [1, 7, 50, 10_000])
def test_the_order_of_the_images_does_not_matter(capacity: int) -> None:
    kept, owners = _keep(list(range(30)), capacity)
    again, owners_again = _keep(list(np.random.default_rng(1).permutation(30)), capacity)
    assert torch.equal(kept, again)
    assert owners == owners_again
    assert len(kept) == min(capacity, 30 * N_PATCHES)
    assert len({tuple(patch) for patch in kept.tolist()}) == len(kept)
    assert owners == [_key(int(image)) for image in kept[:, 0]]


def test_equals_sorting_all_priorities() -> None:
    kept, _ = _keep(list(range(30)), 50, seed=4)
    reservoir = PatchReservoir(50, 4)
    every = [
        (priority, number, position)
        for number in range(30)
        for position, priority in enumerate(reservoir.draw(_key(number), N_PATCHES))
    ]
    assert kept.tolist() == [[number, position] for _, number, position in sorted(every)[:50]]


def test_every_patch_is_as_likely_as_any_other() -> None:
    counts = np.zeros((10, N_PATCHES))
    for seed in range(400):
        for number, position in _keep(list(range(10)), 20, seed)[0].long().tolist():
            counts[number, position] += 1
    # 400 x 20 / 200 = 40 draws expected a patch, standard deviation 6.
    assert 15 < counts.min() < counts.max() < 70
    assert counts.sum(axis=1).min() > 330  # 800 an image; first and last images alike
    assert abs(counts[:5].sum() - counts[5:].sum()) < 400


def test_another_seed_keeps_other_patches() -> None:
    assert not torch.equal(_keep(list(range(30)), 50, 0)[0], _keep(list(range(30)), 50, 1)[0])


def test_nothing_added_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected at least one image"):
        PatchReservoir(3, 0).result()


def test_memory_is_bounded() -> None:
    reservoir = PatchReservoir(10, 0)
    held = 0
    for number in range(200):
        priorities = reservoir.draw(_key(number), N_PATCHES)
        reservoir.add(_key(number), priorities, torch.zeros(N_PATCHES, 2))
        held = max(held, sum(len(patches) for patches in reservoir._patches))
    assert held <= 2 * 10
