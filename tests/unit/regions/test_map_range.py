"""The data set's range: which rule holds when, and what cannot be fitted."""

from __future__ import annotations

import numpy as np
import pytest

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.core.errors import AnomalyMapError
from protoanomalyncd.regions import background_level, fit_range

MAXIMA = np.array([3.0, 9.0, 4.0, 5.0], np.float32)
NORMAL = np.linspace(1, 2, 11, dtype=np.float32)


def test_default_takes_a_quantile_of_the_normals_maxima() -> None:
    assert fit_range(MAXIMA, NORMAL).low == pytest.approx(1.5)
    assert fit_range(MAXIMA, NORMAL, MEBinConfig(normal_quantile=0.9)).low == pytest.approx(1.9)
    assert fit_range(MAXIMA, NORMAL).high == 9.0


@pytest.mark.parametrize("normal", [None, np.zeros(0, np.float32)])
def test_without_held_out_normals_it_begins_among_the_sets_lower_maxima(
    normal: np.ndarray | None,
) -> None:
    assert fit_range(MAXIMA, normal).low == pytest.approx(np.quantile(MAXIMA, 0.1))
    assert fit_range(MAXIMA, normal, MEBinConfig(set_quantile=0.5)).low == pytest.approx(4.5)
    assert fit_range(MAXIMA, normal, MEBinConfig(set_quantile=0)).low == 3.0


def test_a_set_without_normal_images_needs_its_background() -> None:
    maps = [np.r_[np.zeros(50), np.full(50, m)].astype(np.float32).reshape(10, 10) for m in MAXIMA]
    background = float(np.median([background_level(m) for m in maps]))
    assert fit_range(MAXIMA, NORMAL, background=background).low == 0.0


@pytest.mark.parametrize(
    ("maxima", "normal", "message"),
    [
        ([], None, "got none"),
        ([2.0, 2.0], None, "no image stands out"),
        ([5.0], None, "no image stands out"),
        ([1.0, 1.2], NORMAL, "no image stands out"),
        ([1.0, np.nan], None, "image maxima"),
        ([1.0, 3.0], [np.inf], "normal maxima"),
    ],
)
def test_what_cannot_be_fitted_is_said(maxima: list, normal: object, message: str) -> None:
    with pytest.raises(AnomalyMapError, match=message):
        fit_range(np.array(maxima, np.float32), normal)
