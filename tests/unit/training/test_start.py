"""start.py: class means, clusters, and the place of the normal class."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.core.errors import DatasetError
from protoanomalyncd.training import Samples, start
from protoanomalyncd.training.start import starting_prototypes


def samples(
    scores: Tensor, labels: Tensor | None = None, anomalous: Tensor | None = None
) -> Samples:
    """Unlabelled regions where nothing else is said."""
    n = len(scores)
    return Samples(
        torch.ones(n, dtype=torch.bool) if anomalous is None else anomalous,
        scores,
        torch.full((n,), -1) if labels is None else labels,
    )


def blobs(n_each: int, n_clusters: int) -> tuple[Tensor, Tensor]:
    """Unit points around the axes, and the axis of each."""
    index = torch.arange(n_clusters).repeat_interleave(n_each)
    points = F.one_hot(index, 8).float() + 0.05 * torch.randn(len(index), 8)
    return F.normalize(points, dim=1), index


def test_known_classes_start_at_their_means_and_normal_at_the_lowest_scores() -> None:
    points, axis = blobs(6, 5)
    labels = torch.where(axis < 2, axis, -1)
    scores = torch.tensor([1.0, 1.0, 0.9, 0.2, 0.8])[axis]
    found = starting_prototypes(points, samples(scores, labels), 2, 3, seed=0)
    assert found.shape == (5, 8)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    nearest = found.argmax(dim=1).tolist()
    assert nearest[:3] == [0, 1, 3]  # the two known, then the cluster of low scores
    assert sorted(nearest[3:]) == [2, 4]
    for k in range(2):
        mean = F.normalize(points[labels == k].mean(dim=0), dim=0)
        torch.testing.assert_close(found[k], mean)


def test_without_known_classes() -> None:
    points, axis = blobs(5, 3)
    scores = torch.tensor([0.9, 0.8, 0.1])[axis]
    found = starting_prototypes(points, samples(scores), 0, 3, seed=1)
    assert int(found[0].argmax()) == 2
    again = starting_prototypes(points, samples(scores), 0, 3, seed=1)
    assert torch.equal(found, again)


def test_fewer_regions_than_classes_is_one_clear_line() -> None:
    points, _ = blobs(1, 3)
    with pytest.raises(DatasetError) as caught:
        starting_prototypes(points, samples(torch.rand(3)), 0, 4, seed=0)
    message = str(caught.value)
    assert "(4), got 3" in message
    assert "--n-novel" in message
    assert "\n" not in message


def test_as_many_regions_as_classes_and_equal_regions_are_enough() -> None:
    points = F.normalize(torch.ones(4, 8), dim=1)
    found = starting_prototypes(points, samples(torch.rand(4)), 0, 4, seed=0)
    assert torch.isfinite(found).all()


def test_images_without_a_region_start_the_normal_prototype() -> None:
    generator = torch.Generator().manual_seed(0)
    axis = torch.tensor([0] * 6 + [1] * 6 + [2] * 9 + [3] * 9)  # two kinds of defect, two of normal
    points = F.normalize(torch.eye(8)[axis] + 0.05 * torch.randn(30, 8, generator=generator), dim=1)
    anomalous = axis < 2
    known = samples(torch.where(anomalous, 0.9, 0.1), anomalous=anomalous)
    found = starting_prototypes(points, known, 0, 3, seed=0)
    torch.testing.assert_close(found[0, 2], found[0, 3], atol=0.05, rtol=0)  # both kinds of normal
    assert sorted(found[1:].argmax(dim=1).tolist()) == [0, 1]


def test_nothing_is_drawn_by_chance_where_all_regions_are_merged() -> None:
    points = F.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    known = samples(torch.rand(60))
    first, second = (starting_prototypes(points, known, 0, 7, seed=seed) for seed in (0, 1))
    assert torch.equal(first, second)


def test_a_rare_type_is_not_lost_in_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only a part of the regions is merged; k-means then sees all of them."""
    monkeypatch.setattr(start, "MERGED_AT_MOST", 40)
    generator = torch.Generator().manual_seed(0)
    axis = torch.tensor([0] * 50 + [1] * 30 + [2] * 10)
    points = F.normalize(torch.eye(8)[axis] + 0.05 * torch.randn(90, 8, generator=generator), dim=1)
    found = starting_prototypes(points, samples(torch.ones(90)), 0, 3, seed=0)
    assert sorted(found.argmax(dim=1).tolist()) == [0, 1, 2]
    for k in range(3):
        mean = F.normalize(points[axis == k].mean(dim=0), dim=0)
        torch.testing.assert_close(found[found.argmax(dim=1) == k][0], mean)
