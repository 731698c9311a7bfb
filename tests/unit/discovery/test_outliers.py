"""outliers/: thresholds, cross-fitting, bounded memory. The scores: tests/contracts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.discovery.outliers import (
    RegionFeatures,
    create_outlier_score,
    cross_fitted_scores,
    image_numbers,
    image_scores,
    registered,
    threshold_at,
)
from protoanomalyncd.discovery.outliers.calibrate import without_fold
from protoanomalyncd.discovery.outliers.neighbour import own_distances, thinned


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
def test_the_stated_share_lies_above_the_threshold(rate: float) -> None:
    scores = torch.rand(1000)
    threshold = threshold_at(scores, rate)
    assert threshold is not None
    assert float((scores > threshold).float().mean()) == pytest.approx(rate, abs=0.002)
    assert float((scores > threshold).float().mean()) <= rate


def test_a_rate_of_0_rejects_nothing() -> None:
    assert threshold_at(torch.rand(10), 0.0) is None


def test_too_few_scores_for_the_rate_reject_nothing() -> None:
    assert threshold_at(torch.zeros(0), 0.1) is None
    assert threshold_at(torch.rand(8), 0.1) is None
    nine = torch.rand(9)
    assert threshold_at(nine, 0.1) == pytest.approx(float(nine.max()))


def test_equal_scores_are_all_kept() -> None:
    scores = torch.full((20,), 0.3)
    threshold = threshold_at(scores, 0.2)
    assert threshold is not None
    assert not (scores > threshold).any()


def test_an_image_scores_as_its_strangest_region() -> None:
    found = image_scores(torch.tensor([0.1, -2.0, 0.7, 0.3]), torch.tensor([1, 0, 1, 2]))
    torch.testing.assert_close(found, torch.tensor([-2.0, 0.7, 0.3]))


def test_copies_of_an_image_are_one_image() -> None:
    assert image_numbers(["b/0", "a/0", "b/1", "a/0", "c"]).tolist() == [0, 1, 0, 1, 2]


def draw(n: int, centres: Tensor, noise: float) -> tuple[RegionFeatures, Tensor]:
    class_ids = torch.randint(len(centres), (n,))
    z = F.normalize(centres[class_ids] + noise * torch.randn(n, centres.shape[1]), dim=1)
    return RegionFeatures(z, z), class_ids


@pytest.mark.parametrize("name", registered())
def test_fresh_regions_are_rejected_at_the_rate_that_was_asked(name: str) -> None:
    """150 fitted images, two regions each; the rate over many fresh ones, mean of eight draws."""
    torch.manual_seed(5)
    asked, measured, in_sample = 0.1, [], []
    for _ in range(8):
        centres = F.normalize(torch.randn(4, 32), dim=1)
        regions, class_ids = draw(300, centres, 0.25)
        members = F.one_hot(class_ids, 4).float()
        prototypes = F.normalize(members.T @ regions.embeddings, dim=1)
        index = torch.arange(300) // 2
        score = create_outlier_score(name)
        score.fit(regions, class_ids, prototypes)
        held_out = cross_fitted_scores(
            lambda: create_outlier_score(name), regions, class_ids, prototypes, index
        )
        threshold = threshold_at(image_scores(held_out, index), asked)
        on_itself = threshold_at(image_scores(score.score(regions), index), asked)
        assert threshold is not None
        assert on_itself is not None
        fresh, _ = draw(2000, centres, 0.25)
        found = image_scores(score.score(fresh), torch.arange(2000) // 2)
        measured.append(float((found > threshold).float().mean()))
        in_sample.append(float((found > on_itself).float().mean()))
    assert sum(measured) / 8 == pytest.approx(asked, abs=0.035)
    if name in ("key_value_cache", "local_density", "mahalanobis", "neighbour"):
        assert sum(in_sample) / 8 > asked + 0.05, "a score calibrated on its own keys is too sure"


def test_a_region_is_scored_without_its_image() -> None:
    """Each image has two copies of one point: a score that kept one would find it at distance 0."""
    z = F.normalize(torch.randn(10, 16), dim=1).repeat_interleave(2, dim=0)
    regions, index = RegionFeatures(z, z), torch.arange(20) // 2
    create = lambda: create_outlier_score("neighbour", {"k": 1})  # noqa: E731
    ids = torch.zeros(20, dtype=torch.int64)
    found = cross_fitted_scores(create, regions, ids, z[:1], index, n_folds=10)
    expected = [
        min(1 - float(z[i] @ z[j]) for j in range(20) if j // 2 != i // 2) for i in range(20)
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_regions_without_an_image_are_fitted_and_not_scored() -> None:
    z = F.normalize(torch.randn(7, 16), dim=1)
    z[6] = z[0]
    regions, index = RegionFeatures(z, z), torch.tensor([0, 1, 2, 3, 4, 5, -1])
    create = lambda: create_outlier_score("neighbour", {"k": 1})  # noqa: E731
    ids = torch.zeros(7, dtype=torch.int64)
    found = cross_fitted_scores(create, regions, ids, z[:1], index)
    assert found.shape == (6,)
    assert float(found[0]) == pytest.approx(0, abs=1e-6)


def test_one_image_cannot_be_held_out() -> None:
    z = F.normalize(torch.randn(3, 16), dim=1)
    ids = torch.zeros(3, dtype=torch.int64)
    create = lambda: create_outlier_score("cosine")  # noqa: E731
    assert len(cross_fitted_scores(create, RegionFeatures(z, z), ids, z[:1], ids)) == 0


def test_a_mean_without_a_fold_is_the_mean_of_the_rest() -> None:
    z = F.normalize(torch.randn(12, 8), dim=1)
    class_ids = torch.arange(12) % 3
    class_ids[class_ids == 2] = 1
    means = F.normalize(torch.stack([z[class_ids == k].sum(dim=0) for k in (0, 1)]), dim=1)
    prototypes = torch.cat([means, F.normalize(torch.randn(1, 8), dim=1)])
    held = torch.arange(12) < 5
    found = without_fold(prototypes, z, class_ids, held)
    for k in (0, 1):
        rest = F.normalize(z[(class_ids == k) & ~held].sum(dim=0), dim=0)
        torch.testing.assert_close(found[k], rest)
    torch.testing.assert_close(found[2], prototypes[2])


def test_a_class_of_which_nothing_is_left_keeps_its_prototype() -> None:
    z = F.normalize(torch.randn(4, 8), dim=1)
    class_ids = torch.tensor([0, 0, 1, 1])
    found = without_fold(z[[0, 2]], z, class_ids, class_ids == 1)
    torch.testing.assert_close(found[1], z[2])


def test_memory_is_bounded_and_spread_over_all() -> None:
    assert thinned(5).tolist() == [0, 1, 2, 3, 4]
    kept = thinned(25_000)
    assert len(kept) == len(set(kept.tolist())) == 10_000
    assert int(kept[0]) == 0
    assert int(kept[-1]) > 24_900


def test_own_distances_equal_a_loop_over_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protoanomalyncd.discovery.outliers.neighbour._CHUNK", 4)
    keys = F.normalize(torch.randn(11, 6), dim=1)
    for i, value in enumerate(own_distances(keys, 2).tolist()):
        others = sorted(1 - float(keys[i] @ keys[j]) for j in range(11) if j != i)
        assert value == pytest.approx(sum(others[:2]) / 2, abs=1e-6)
