"""measures.py: AUROC and FPR95 against counting."""

from __future__ import annotations

import pytest
import torch

from research.benchmarks.measures import auroc, false_positive_rate


@pytest.mark.parametrize("n", [1, 2, 17])
def test_auroc_equals_counting_pairs(n: int) -> None:
    unseen = (torch.rand(n) * 8).round()
    known = (torch.rand(23) * 6).round()
    pairs = [0.5 * (float(a) == float(b)) + (float(a) > float(b)) for a in unseen for b in known]
    assert auroc(unseen, known) == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_knows_its_ends() -> None:
    assert auroc(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])) == 1
    assert auroc(torch.tensor([-1.0]), torch.tensor([1.0])) == 0


@pytest.mark.parametrize(("n", "needed"), [(1, 1), (20, 19), (21, 20), (100, 95)])
def test_fpr95_equals_lowering_the_threshold_step_by_step(n: int, needed: int) -> None:
    unseen, known = torch.randn(n) + 1, torch.randn(50)
    for limit in sorted(unseen.tolist(), reverse=True):
        if sum(u >= limit for u in unseen.tolist()) >= 0.95 * n - 1e-9:
            break
    assert sum(u >= limit for u in unseen.tolist()) == needed
    expected = sum(k >= limit for k in known.tolist()) / 50
    assert false_positive_rate(unseen, known) == pytest.approx(expected)
