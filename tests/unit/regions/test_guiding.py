"""guiding.py: what guides the class token, as arrays."""

from __future__ import annotations

import numpy as np

from protoanomalyncd.regions import anomaly_values, centre_window, guide_values


def test_anomaly_values_are_the_larger_of_mask_and_map() -> None:
    mask, amap = np.array([[True, False]]), np.array([[0.2, 0.7]], np.float32)
    np.testing.assert_array_equal(anomaly_values(mask, amap), np.float32([[1.0, 0.7]]))


def test_an_object_mask_stands_beside_the_anomaly() -> None:
    mask, amap = np.eye(3, dtype=np.bool_), np.full((3, 3), 0.5, np.float32)
    assert guide_values(mask, amap).shape == (3, 3)
    both = guide_values(mask, amap, ~mask)
    np.testing.assert_array_equal(both[..., 0], guide_values(mask, amap))
    np.testing.assert_array_equal(both[..., 1], ~mask)


def test_the_central_window() -> None:
    crop = np.arange(49).reshape(7, 7).astype(np.float32)
    np.testing.assert_array_equal(centre_window(crop, 3), crop[2:5, 2:5])
