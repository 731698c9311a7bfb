"""outliers.py: the threshold at a stated rate. The scores: tests/contracts."""

from __future__ import annotations

import pytest
import torch

from protoanomalyncd.discovery.outliers import threshold_at


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
def test_the_stated_share_lies_above_the_threshold(rate: float) -> None:
    scores = torch.rand(1000)
    threshold = threshold_at(scores, rate)
    assert threshold is not None
    assert float((scores > threshold).float().mean()) == pytest.approx(rate, abs=0.002)


def test_a_rate_of_0_rejects_nothing() -> None:
    assert threshold_at(torch.rand(10), 0.0) is None


def test_without_scores_there_is_no_threshold() -> None:
    assert threshold_at(torch.zeros(0), 0.1) is None


def test_equal_scores_are_all_kept() -> None:
    scores = torch.full((20,), 0.3)
    threshold = threshold_at(scores, 0.2)
    assert threshold is not None
    assert not (scores > threshold).any()
