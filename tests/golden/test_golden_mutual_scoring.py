"""Mutual scores against MuSc's own numbers.

``mutual_scoring.json`` names the origin; ``make_mutual_scoring.py`` beside this file wrote it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from protoanomalyncd.anomaly_maps.mutual_scoring import interval_average, nearest_in_each

CASES = json.loads((Path(__file__).parent / "mutual_scoring.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{len(case['features'])}images")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_every_image_scored_against_the_others(
    case: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    features = torch.tensor(case["features"], dtype=dtype)
    for i, expected in enumerate(case["scores"]):
        others = torch.arange(len(features)) != i
        scores = interval_average(nearest_in_each(features[i], features)[:, others])
        torch.testing.assert_close(
            scores, torch.tensor(expected, dtype=dtype), rtol=0, atol=tolerance
        )
