"""The assignment problem: one to one, such that the sum is greatest.

scipy solves it too, but takes a second to import, and the command line compares results without it.

Source: Crouse, "On implementing 2D rectangular assignment algorithms", IEEE Transactions on
Aerospace and Electronic Systems 52(4), 2016; ties as in scipy's ``linear_sum_assignment``, so that
the assignment is the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["assign"]


def assign(gain: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs (row, column), min(n, m) of them, of the greatest sum; sorted by row.

    Args:
        gain: (n, m).
    """
    if gain.shape[1] < gain.shape[0]:
        return sorted((i, j) for j, i in assign(gain.T))
    cost = -gain.astype(np.float64)
    n, m = cost.shape
    of_rows, of_columns = np.zeros(n), np.zeros(m)  # the dual variables
    column_of, row_of = np.full(n, -1), np.full(m, -1)
    for start in range(n):
        shortest, path = np.full(m, np.inf), np.full(m, -1)
        remaining = np.arange(m)[::-1].copy()
        n_left, rows, columns = m, [], []
        row, low, sink = start, 0.0, -1
        while sink < 0:
            rows.append(row)
            left = remaining[:n_left]
            reach = low + cost[row, left] - of_rows[row] - of_columns[left]
            shorter = reach < shortest[left]
            path[left[shorter]] = row
            shortest[left[shorter]] = reach[shorter]
            lengths = shortest[left]
            low = float(lengths.min())
            ties = np.flatnonzero(lengths == low)
            free = ties[row_of[left[ties]] < 0]
            at = int(free[-1] if len(free) else ties[0])
            column = int(left[at])
            columns.append(column)
            if row_of[column] < 0:
                sink = column
            else:
                row = int(row_of[column])
            n_left -= 1
            remaining[at] = remaining[n_left]
        of_rows[start] += low
        others = np.array(rows[1:], np.int64)
        of_rows[others] += low - shortest[column_of[others]]
        of_columns[columns] -= low - shortest[columns]
        column = sink
        while True:  # turn the path around
            row = int(path[column])
            row_of[column] = row
            column_of[row], column = column, int(column_of[row])
            if row == start:
                break
    return [(i, int(j)) for i, j in enumerate(column_of)]
