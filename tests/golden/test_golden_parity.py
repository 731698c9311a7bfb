"""The defaults, AnomalyNCD's and SimGCD's settings give what they gave before they were moved.

``parity.json`` was written by ``make_parity.py`` at the revision that it names, when the options of
`research.published` were settings of the product.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from research.studies import read_study, run_study
from research.studies.outcomes import Outcome
from research.studies.runs import Run
from tests.golden.golden_parity import write_study

HERE = Path(__file__).parent
GOLDEN: dict[str, Any] = json.loads((HERE / "parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder, runs = tmp_path_factory.mktemp("parity"), {}

    def keep(outcome: Outcome, run: Run) -> None:
        runs[outcome.row] = run

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        study = read_study(write_study(folder, HERE.parents[1] / "research" / "configs"))
        run_study(study, folder / "out", lambda *_: None, keep)
    finally:
        torch.set_num_threads(threads)
    return runs


@pytest.mark.parametrize("row", ["default", "anomalyncd", "simgcd"])
def test_classes_and_losses_are_those_of_the_revision_before(
    found: dict[str, Run], row: str
) -> None:
    result, golden = found[row].result, GOLDEN["rows"][row]
    assert result is not None
    images = result.discovery.images
    assert {image.name: image.class_id for image in images} == golden["classes"]
    confidences = {image.name: image.confidence for image in images}
    assert confidences == pytest.approx(golden["confidences"], abs=1e-4)
    assert len(result.history) == len(golden["history"])
    for ours, theirs in zip(result.history, golden["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
