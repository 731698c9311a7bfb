"""From candidates to one mask, against naive loops."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from protoanomalyncd.core.records import MaskArray
from protoanomalyncd.localisation.shapes import (
    ObjectRules,
    choose_objects,
    clip_boxes,
    fill_holes,
    largest_piece,
    tidy,
)

FOUR = ((0, 1), (1, 0), (0, -1), (-1, 0))
EIGHT = (*FOUR, (1, 1), (1, -1), (-1, 1), (-1, -1))


def pieces(mask: MaskArray, steps: tuple[tuple[int, int], ...]) -> list[list[tuple[int, int]]]:
    """Connected components by a breadth-first walk, in the order of their first pixel."""
    seen, found = np.zeros_like(mask), []
    for y, x in np.argwhere(mask).tolist():
        if seen[y, x]:
            continue
        seen[y, x] = True
        piece, waiting = [], deque([(y, x)])
        while waiting:
            here = waiting.popleft()
            piece.append(here)
            for dy, dx in steps:
                v, u = here[0] + dy, here[1] + dx
                inside = 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]
                if inside and mask[v, u] and not seen[v, u]:
                    seen[v, u] = True
                    waiting.append((v, u))
        found.append(piece)
    return found


@pytest.mark.parametrize("density", [0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("shape", [(1, 9), (12, 17), (25, 8)])
def test_largest_piece_and_holes_equal_a_walk_over_the_pixels(
    density: float, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(round(10 * density) + shape[0])
    for _ in range(20):
        mask = rng.random(shape) < density
        mask[0, 0] = True
        largest = np.zeros_like(mask)
        for y, x in max(pieces(mask, EIGHT), key=len):
            largest[y, x] = True
        np.testing.assert_array_equal(largest_piece(mask), largest)
        filled = mask.copy()
        for piece in pieces(~mask, FOUR):
            if all(0 < y < shape[0] - 1 and 0 < x < shape[1] - 1 for y, x in piece):
                for y, x in piece:
                    filled[y, x] = True
        np.testing.assert_array_equal(fill_holes(mask), filled)


def test_of_equally_large_pieces_the_first_by_rows_is_kept() -> None:
    mask = np.zeros((6, 6), np.bool_)
    mask[4, 0:2] = mask[1, 3:5] = True
    assert np.argwhere(largest_piece(mask)).tolist() == [[1, 3], [1, 4]]


def test_tidy_grows_by_a_share_of_the_longer_side() -> None:
    mask = np.zeros((50, 100), np.bool_)
    mask[20:30, 40:60] = True
    mask[25, 50] = False
    grown = tidy(mask, ObjectRules(margin=0.03))
    ys, xs = np.nonzero(grown)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (17, 32, 37, 62)
    assert grown[25, 50]
    as_it_is = tidy(mask, ObjectRules(margin=0.0, fill_holes=False))
    np.testing.assert_array_equal(as_it_is, mask)


def test_tidy_of_several_pieces_keeps_them_unless_told() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[2:10, 2:10] = mask[20:38, 20:38] = True
    assert tidy(mask, ObjectRules(margin=0.0)).sum() == 64 + 324
    assert tidy(mask, ObjectRules(margin=0.0, largest_component=True)).sum() == 324


@pytest.mark.parametrize(
    ("scores", "shares", "rules", "expected"),
    [
        ([], [], {}, []),
        ([0.5, 0.9, 0.7], [0.1, 0.2, 0.3], {}, [1, 2, 0]),
        ([0.5, 0.9, 0.7], [0.1, 0.2, 0.3], {"max_objects": 2}, [1, 2]),
        ([0.5, 0.9], [0.1, 0.99], {}, [0]),  # the background
        ([0.9], [1.0], {}, [0]),  # the object fills the image
        ([0.9, 0.4], [1.0, 0.97], {}, [0, 1]),
        ([0.9, 0.4], [0.0, 0.2], {}, [1]),  # an empty box is none
        ([0.4, 0.4, 0.4], [0.2, 0.3, 0.2], {}, [1, 0, 2]),
        ([0.9, 0.4], [0.5, 0.2], {"max_box_area": 0.5}, [1]),
    ],
)
def test_which_candidates_are_objects(
    scores: list[float], shares: list[float], rules: dict[str, float], expected: list[int]
) -> None:
    chosen = choose_objects(
        np.asarray(scores, np.float32), np.asarray(shares, np.float32), ObjectRules(**rules)
    )
    assert chosen == expected


def test_boxes_are_cut_at_the_border() -> None:
    boxes = np.array([[-3, 2, 50, 99], [5, 6, 7, 8], [90, 1, 95, 4]], np.float32)
    assert clip_boxes(boxes, 20, 40).tolist() == [[0, 2, 40, 20], [5, 6, 7, 8], [40, 1, 40, 4]]
    assert clip_boxes(np.zeros((0, 4), np.float32), 20, 40).shape == (0, 4)
