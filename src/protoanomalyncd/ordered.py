"""Work on many items in a few threads: in order, with bounded memory. Needs no torch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2

__all__ = ["core_count", "spread"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_AHEAD = 2
"""Items a worker that are begun or finished and not yet taken."""


def core_count() -> int:
    """Cores that this process may use: OMP_NUM_THREADS, or those it was given."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spread(
    items: Iterable[_Item], work: Callable[[_Item], _Result], workers: int
) -> Iterator[_Result]:
    """Apply `work` to every item; the results come in the order of the items.

    Args:
        items: taken lazily, a few ahead of the results.
        work: item -> result; may run in another thread. What it raises is raised in its place.
        workers: threads; 1 = the caller's own.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    waiting: deque[Future[_Result]] = deque()
    with _no_threads_of_opencv(), ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # A consumer that stops early must not wait for what it does not want.
            for future in waiting:
                future.cancel()


@contextmanager
def _no_threads_of_opencv() -> Iterator[None]:
    """OpenCV's own threads beside ours only wait for each other: half of the time is lost."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
