"""The assignment and the scores are those of scipy and scikit-learn, to the bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from protoanomalyncd.discovery.assignment import assign
from protoanomalyncd.discovery.metrics import evaluate


@pytest.mark.parametrize("most", [1, 2, 5, 1000])
def test_pairs_are_those_of_scipy(most: int) -> None:
    draw = np.random.default_rng(most)
    for _ in range(300):
        gain = draw.integers(0, most + 1, draw.integers(1, 9, 2))
        rows, columns = linear_sum_assignment(gain, maximize=True)
        assert assign(gain) == list(zip(rows.tolist(), columns.tolist(), strict=True))
    assert assign(np.zeros((3, 0), np.int64)) == []


def test_scores_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    for _ in range(300):
        n = int(draw.integers(1, 60))
        true = draw.integers(0, draw.integers(1, 8), n).tolist()
        found = draw.integers(-1, draw.integers(0, 8), n).tolist()
        metrics = evaluate(true, found)
        assert metrics.nmi == pytest.approx(normalized_mutual_info_score(true, found), abs=1e-14)
        assert metrics.ari == adjusted_rand_score(true, found)


def test_comparing_needs_no_large_library() -> None:
    code = "import sys, protoanomalyncd.cli.evaluate; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "sklearn", "scipy"} & set(loaded)
