"""Mergers at work: what a classifier answers about merged classes. In numpy, for exports too.

Letters: R rows (regions or images), A classes that may win, N classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["add_up"]


def add_up(
    probabilities: npt.NDArray[np.floating], target: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The class of each row, and its probability, when merged classes are one.

    The probabilities of merged classes add up before the largest is looked for: two halves of one
    defect may each lose against a third class and win together. A row's result does not depend on
    the other rows, not even in its last bit.

    Args:
        probabilities: of the classes as the model numbers them, before any merger (R, A).
        target: class that each of the N classes was merged into, its own where it was not; N at
            least A.

    Returns:
        Ids among the N classes (R,), and probabilities (R,).
    """
    sums = np.zeros((len(probabilities), len(target)))
    for k, column in enumerate(probabilities.T):
        sums[:, target[k]] += column
    return sums.argmax(axis=1), sums.max(axis=1, initial=0.0)
