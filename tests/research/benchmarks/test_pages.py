"""Pages of the documentation from rows that were recorded: tables, bold defaults, commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from research.benchmarks import choose_views, count_page, mtd, outliers


def row(**values: Any) -> dict[str, Any]:
    estimates = dict.fromkeys(count_page.METHODS, 3) | {"silhouette": 6}
    known = {"set": "generated-03", "product": "tile", "n_regions": 44, "truth": 3, "seed": 0}
    return {**known, "estimates": estimates, "nmi": {"3": 0.9}, **values}


def test_the_page_of_counts() -> None:
    page = count_page.page([row(), row(seed=1, nmi={"3": 0.8})])
    assert 'make bench-count ARGS="--seeds 0 1"' in page
    assert "| generated-03 (tile) | 44 | 3 | 3 | *6* | 3 | 3 | 3 | 0.850 | 0.850 |" in page
    assert "eigengaps 1 of 1, silhouette 0 of 1" in page
    assert "NMI, mean over the sets: 0.850 with the truth, 0.850 with the estimate." in page


def test_the_page_of_outliers() -> None:
    scores = {
        name: dict.fromkeys(outliers.COLUMNS, 0.25) | {"auroc": 0.75}
        for name in (outliers.BASELINE, *outliers.SCORES)
    }
    folds = [{"type": kind, "seed": 0, "scores": scores} for kind in ("Break", "Fray")]
    page = outliers.page(folds, argparse.Namespace(seeds=[0], rate=0.05))
    assert 'make bench-outliers ARGS="--seeds 0"' in page
    shown = [line for line in page.split("\n") if line.startswith("| **")]
    assert shown == [f"| **{outliers.DEFAULT}** | 0.750 |{' 0.250 |' * 5} 0.750 | 0.750 |"]
    assert "image AUROC 0.750 ± 0.000 over 2 fits." in page


def test_the_page_of_views_and_its_plot(tmp_path: Path) -> None:
    rows = [("1", 0.5, 0.1, 9.0), ("2", 0.6, 0.0, 9.5), ("fresh", 0.62, 0.01, 90.0)]
    options = argparse.Namespace(epochs=15, seeds=[0, 1])
    choose_views.write_page(tmp_path / "views.md", rows, "9 crops", options, 0.5)
    assert "| fresh | 0.620 ± 0.010 | 90 |" in (tmp_path / "views.md").read_text("utf-8")
    plot = (tmp_path / "images" / "views.svg").read_text("utf-8")
    assert plot.count("<circle") == 2
    assert "fresh views every epoch" in plot


@pytest.mark.parametrize("kept", [False, True])
def test_the_page_of_the_main_job(kept: bool) -> None:
    rows = [mtd.Row(seed, 0.4, 0.5, 0.6, 0.2, 0.1, 0.3, 2.0, 900) for seed in (0, 1)]
    page = mtd.page(rows, "embedded", kept=kept)
    assert "| 0 | 0.400 | 0.500 | 0.600 | 0.200 | 0.100 | 0.300 | +0.200 | 2.0 | 900 |" in page
    assert "| mean ± sd | 0.400 ± 0.000 |" in page
    assert ("found in its work folder" in page) is kept
