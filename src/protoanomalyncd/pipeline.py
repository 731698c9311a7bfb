"""Work on many items at once: in order, with bounded memory, with the result of one by one.

A network that sees one crop at a time leaves most of a second core idle, so crops are spread over
threads and each of them computes with one thread of its own. (In a batch the last bits of a matrix
product depend on the size of the batch; here they depend on neither batch nor number of threads.)
Files are decoded in the same threads, while the others compute. Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from protoanomalyncd.ordered import spread

__all__ = ["in_order", "one_thread_each", "worker_count"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_MOST_WORKERS = 16
_BESIDE_A_DEVICE = 4
"""Threads that decode images for one accelerator."""


def worker_count(device: str | torch.device = "cpu") -> int:
    """Threads worth starting: those that torch may use, or a few that feed an accelerator."""
    if torch.device(device).type != "cpu":
        return _BESIDE_A_DEVICE
    return max(1, min(torch.get_num_threads(), _MOST_WORKERS))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Inside, torch computes with one thread in this thread and in those started meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_order(
    items: Iterable[_Item], work: Callable[[_Item], _Result], workers: int
) -> Iterator[_Result]:
    """As `ordered.spread`, while torch computes with one thread in each."""
    if workers <= 1:
        for item in items:
            with one_thread_each():
                result = work(item)
            yield result
        return

    def alone(item: _Item) -> _Result:
        torch.set_num_threads(1)
        return work(item)

    before = torch.get_num_threads()
    try:
        yield from spread(items, alone, workers)
    finally:
        torch.set_num_threads(before)
