"""prototype_score.py: its two terms against loops, and what it says about known groups."""

from __future__ import annotations

import numpy as np
import torch

from protoanomalyncd.config import PrototypeConfig
from protoanomalyncd.discovery.count.prototype_score import (
    centroid_score,
    held_out,
    prototype_score,
)
from tests.unit.discovery.count.blobs import embedded, groups


def test_centroid_score_as_a_loop_gives_it_and_an_empty_prototype_counts_0() -> None:
    z = torch.from_numpy(groups(3, 4, 0.3))
    mu = torch.cat([z[[0, 4]], -z.mean(dim=0, keepdim=True) / z.mean(dim=0).norm()])
    nearest = [max(range(3), key=lambda k: float(row @ mu[k])) for row in z]
    assert 2 not in nearest
    cosines = []
    for k in range(3):
        own = [row for row, found in zip(z, nearest, strict=True) if found == k]
        if not own:
            cosines.append(0.0)
            continue
        centroid = torch.stack(own).mean(dim=0)
        cosines.append(float(centroid @ mu[k] / centroid.norm()))
    assert abs(centroid_score(mu, z) - np.mean(cosines)) < 1e-9


def test_a_fifth_of_each_class_is_held_out_and_never_a_whole_class() -> None:
    labels = torch.tensor([0] * 10 + [1] * 6 + [2] + [-1] * 5)
    chosen = held_out(labels)
    assert [int(chosen[labels == k].sum()) for k in (0, 1, 2, -1)] == [2, 2, 0, 0]


def test_labels_add_their_accuracy() -> None:
    config = PrototypeConfig()
    ids = np.repeat(np.arange(3), 12)
    without = prototype_score(embedded(3), ids, False, config, 0)
    with_labels = prototype_score(embedded(3, n_base=2), ids, False, config, 0)
    assert 0.5 < without <= 1
    assert 1.5 < with_labels <= 2


def test_the_truth_scores_higher_than_merged_or_split_groups() -> None:
    config = PrototypeConfig()
    data = embedded(4, size=10, n_quiet=6, n_base=2)
    truth = np.repeat(np.arange(4), 10)
    merged = truth // 2
    split = truth * 2 + np.arange(40) % 2
    values = [prototype_score(data, ids, True, config, 0) for ids in (merged, truth, split)]
    assert values[1] > values[0]
    assert values[1] > values[2]


def test_the_same_seed_gives_the_same_score_and_global_randomness_is_left_alone() -> None:
    data, ids = embedded(2, spread=0.1), np.repeat(np.arange(2), 12)
    before = torch.random.get_rng_state()
    first = prototype_score(data, ids, False, PrototypeConfig(), 3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first == prototype_score(data, ids, False, PrototypeConfig(), 3)
