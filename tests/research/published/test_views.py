"""views.py: AnomalyNCD's changes of colour."""

from __future__ import annotations

import numpy as np

from protoanomalyncd.training.views import augmented_view, view_generator
from research.published.views import reference_recolour
from tests.tiny import random_crop


def test_only_colours_change() -> None:
    image, _, amap = random_crop(np.random.default_rng(0))
    ours, theirs, again = (
        augmented_view(image, amap, 64, view_generator("k", 1, 0), recolour)
        for recolour in (None, reference_recolour, reference_recolour)
    )
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert not np.array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(theirs[0], again[0])


def test_it_posterises_to_five_to_eight_bits() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    lowest = set()
    for view in range(40):
        window = reference_recolour(image, view_generator("k", view, 0))
        used = int(np.bitwise_or.reduce(window, axis=None))
        lowest.add(used & -used)
    assert lowest == {1, 2, 4, 8}
