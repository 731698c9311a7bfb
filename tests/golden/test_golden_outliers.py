"""Outlier scores and their measures against the references' own numbers.

``outliers.json`` names repository, commit, file and function; ``make_outliers.py`` wrote it. (The
references' k-nearest-neighbour score calls a library inside its main program; its oracle is in the
contract suite.)
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from protoanomalyncd.discovery.outliers import (
    RegionFeatures,
    create_outlier_score,
)
from research.benchmarks.measures import auroc, false_positive_rate

GOLDEN = json.loads((Path(__file__).parent / "outliers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("theirs", "ours", "arguments", "shift"),
    [
        ("msp", "probability", {}, 1.0),
        ("mls", "cosine", {}, 1.0),
        ("energy", "energy", {"temperature": 1.0}, 0.0),
        ("margin", "margin", {}, 0.0),
    ],
)
def test_prototype_scores_are_protogcds(
    theirs: str, ours: str, arguments: dict[str, float], shift: float
) -> None:
    case = GOLDEN["protogcd"]
    z = torch.tensor(case["queries"])
    score = create_outlier_score(ours, arguments)
    score.fit(RegionFeatures(z, z), torch.zeros(len(z)), torch.tensor(case["prototypes"]))
    expected = torch.tensor(case["scores"][theirs]) + shift
    torch.testing.assert_close(score.score(RegionFeatures(z, z)), expected, atol=1e-5, rtol=1e-5)


def test_mahalanobis_without_shrinkage_is_ciders() -> None:
    case = GOLDEN["cider"]
    fitted, z = torch.tensor(case["fitted"]), torch.tensor(case["queries"])
    score = create_outlier_score("mahalanobis", {"shrinkage": 0.0})
    score.fit(RegionFeatures(fitted, fitted), torch.tensor(case["labels"]), fitted[:3])
    found = score.score(RegionFeatures(z, z)) * z.shape[1]
    torch.testing.assert_close(found, torch.tensor(case["scores"]), atol=1e-4, rtol=1e-4)


def test_the_measures_are_theirs() -> None:
    """40 positives, 38 of them exactly 95 %: their threshold lies just above the 39th."""
    case = GOLDEN["protogcd"]
    unseen, known = torch.tensor(case["unseen"]), torch.tensor(case["known"])
    assert auroc(unseen, known) == pytest.approx(case["auroc"])
    falling = unseen.sort(descending=True).values
    assert float((known > falling[38]).float().mean()) == pytest.approx(case["fpr95"])
    assert false_positive_rate(unseen, known) == float((known >= falling[37]).float().mean())
