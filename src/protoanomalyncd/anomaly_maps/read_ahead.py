"""Reads files in the background while the previous ones are worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from protoanomalyncd.errors import InputError
from protoanomalyncd.structures import Sample, Skipped

__all__ = ["read_ahead"]

_Item = TypeVar("_Item")


def read_ahead(
    samples: Iterable[Sample], read: Callable[[Sample], _Item], ahead: int = 4
) -> Iterator[tuple[Sample, _Item | Skipped]]:
    """Apply `read` to every sample in one background thread, in order.

    Args:
        samples: taken lazily.
        read: file -> item; its `InputError` or `OSError` makes a `Skipped` with that reason.
        ahead: items held in memory at most.

    Yields:
        (sample, item or Skipped), in the order of `samples`.
    """

    def attempt(sample: Sample) -> _Item | Skipped:
        try:
            return read(sample)
        except (InputError, OSError) as error:
            return Skipped(sample.name, " ".join(str(error).split()))

    waiting: deque[tuple[Sample, Future[_Item | Skipped]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            for sample in samples:
                waiting.append((sample, pool.submit(attempt, sample)))
                if len(waiting) >= ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            # A consumer that stops early must not wait for files it does not want.
            for _, future in waiting:
                future.cancel()
