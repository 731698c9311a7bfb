"""vmf.py and bessel.py against 40-digit arithmetic; vmf.json names its origin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from protoanomalyncd.prototypes.bessel import scaled_bessel
from protoanomalyncd.prototypes.vmf import concentration, log_normaliser, mean_length

CASES = json.loads(Path(__file__).with_name("vmf.json").read_text(encoding="utf-8"))["cases"]
DIMENSIONS = sorted({case["d"] for case in CASES})


def column(d: int, name: str) -> np.ndarray:
    return np.array([float(case[name]) for case in CASES if case["d"] == d])


@pytest.mark.parametrize("d", DIMENSIONS)
def test_all_values(d: int) -> None:
    kappa = column(d, "kappa")
    close = np.testing.assert_allclose
    close(mean_length(d, kappa), column(d, "mean_length"), rtol=1e-13)
    close(log_normaliser(d, kappa), column(d, "log_normaliser"), rtol=1e-13, atol=1e-13)
    v = d / 2 - 1
    found = scaled_bessel(v, kappa)[0] + v * np.log(kappa)
    close(found, column(d, "log_bessel"), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_kappa_is_found_again_from_the_mean_length(d: int) -> None:
    """A_d is nearly 1 at large kappa: R holds as many digits of kappa as of 1 - R."""
    kappa, length = column(d, "kappa"), column(d, "mean_length")
    lost = np.maximum(1, 1 / (1 - length))
    assert np.all(np.abs(concentration(d, length) / kappa - 1) < 1e-14 * lost * 10)
