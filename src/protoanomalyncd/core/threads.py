"""Work on many items in a few threads: in order, in bounded memory, with the result of one by one.

A network that sees one crop at a time leaves most of a second core idle, so items are spread over
threads and each of them computes with one thread of its own. (In a batch the last bits of a matrix
product depend on the size of the batch; here they depend on neither batch nor number of threads.)
Files are decoded in the same threads, while the others compute.

Runs without torch too: an exported model is used where there is none. Source: ours.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import cv2

from protoanomalyncd.core.errors import InputError
from protoanomalyncd.core.records import Sample, Skipped

__all__ = ["one_thread_each", "ordered_map", "read_ahead", "worker_count"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_AHEAD = 2
"""Items a worker that are begun or finished and not yet taken."""
_HELD_BYTES = 200_000_000
"""Bytes of items that `read_ahead` holds before it waits: large images come one at a time."""
_MOST_WORKERS = 16
_BESIDE_A_DEVICE = 4
"""Threads that decode images for one accelerator."""


def worker_count(device: object = "cpu") -> int:
    """Threads worth starting: those that this process may use, or a few that feed an accelerator.

    Args:
        device: where the network is: a name, or a ``torch.device``.
    """
    if str(device).partition(":")[0] != "cpu":
        return _BESIDE_A_DEVICE
    torch = _torch()
    return max(1, min(_core_count() if torch is None else torch.get_num_threads(), _MOST_WORKERS))


def _core_count() -> int:
    """Cores that this process may use: OMP_NUM_THREADS, or those it was given."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _torch() -> Any:
    """Torch where somebody has imported it, else None: whoever has not needs no limit to it."""
    return sys.modules.get("torch")


def _limits() -> tuple[int, int | None]:
    """Threads of OpenCV and of torch."""
    torch = _torch()
    return cv2.getNumThreads(), None if torch is None else torch.get_num_threads()


def _limit(n: int, torch: bool = False) -> None:
    cv2.setNumThreads(n)
    loaded = _torch()
    if torch and loaded is not None:
        loaded.set_num_threads(n)


def _restore(limits: tuple[int, int | None]) -> None:
    of_cv2, of_torch = limits
    cv2.setNumThreads(of_cv2)
    torch = _torch()
    if torch is not None and of_torch is not None:
        torch.set_num_threads(of_torch)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Inside, torch and OpenCV compute with one thread, here and in threads started meanwhile.

    Threads of theirs beside ours only wait for each other.
    """
    before = _limits()
    _limit(1, torch=True)
    try:
        yield
    finally:
        _restore(before)


def ordered_map(
    items: Iterable[_Item], work: Callable[[_Item], _Result], workers: int
) -> Iterator[_Result]:
    """Apply `work` to every item; the results come in the order of the items.

    Args:
        items: taken lazily, a few ahead of the results.
        work: item -> result; may run in another thread, with one thread of torch and OpenCV. What
            it raises is raised in its place.
        workers: threads; 1 = the caller's own.
    """
    if workers <= 1:
        for item in items:
            with one_thread_each():
                result = work(item)
            yield result
        return

    def alone(item: _Item) -> _Result:
        _limit(1, torch=True)
        return work(item)

    before = _limits()
    _limit(1)  # torch: in the workers alone; the caller may compute between two results
    try:
        yield from _spread(items, alone, workers, _AHEAD * workers)
    finally:
        _restore(before)


def read_ahead(
    samples: Iterable[Sample], read: Callable[[Sample], _Result], ahead: int = 4
) -> Iterator[tuple[Sample, _Result | Skipped]]:
    """Apply `read` to every sample in one background thread, in order.

    Args:
        samples: taken lazily.
        read: file -> item; its `InputError` or `OSError` makes a `Skipped` with that reason.
        ahead: items held in memory at most; of large ones fewer.

    Yields:
        (sample, item or Skipped), in the order of `samples`.
    """
    held: float = 0
    change = threading.Condition()  # bytes of items that are read and not yet taken

    def attempt(sample: Sample) -> tuple[tuple[Sample, _Result | Skipped], int]:
        nonlocal held
        with change:
            change.wait_for(lambda: held < _HELD_BYTES)
        try:
            result: _Result | Skipped = read(sample)
        except (InputError, OSError) as error:
            result = Skipped(sample.name, " ".join(str(error).split()))
        size = _n_bytes(result)
        with change:
            held += size
        return (sample, result), size

    def take(size: float) -> None:
        nonlocal held
        with change:
            held -= size
            change.notify()

    with closing(_spread(samples, attempt, 1, ahead)) as results:
        try:
            for item, size in results:
                take(size)
                yield item
        finally:
            take(float("inf"))  # who waits for room is let go


def _n_bytes(item: object) -> int:
    """Size of an array, or of those in a tuple [bytes]."""
    if isinstance(item, tuple):
        return sum(map(_n_bytes, item))
    return int(getattr(item, "nbytes", 0))


def _spread(
    items: Iterable[_Item], work: Callable[[_Item], _Result], workers: int, ahead: int
) -> Generator[_Result, None, None]:
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # A consumer that stops early must not wait for what it does not want.
            for future in waiting:
                future.cancel()
