"""pipeline.py: order, errors, bounds and threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from protoanomalyncd.core.threads import one_thread_each, ordered_map, worker_count


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def work(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i * i

    assert list(ordered_map(range(20), work, workers)) == [i * i for i in range(20)]
    assert list(ordered_map([], work, workers)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_in_its_place(workers: int) -> None:
    def work(i: int) -> int:
        if i == 4:
            raise KeyError(i)
        return i

    results = ordered_map(range(9), work, workers)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        next(results)


def test_items_are_taken_only_a_few_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    results = ordered_map(items(), lambda i: i, 2)
    assert next(results) == 0
    assert len(taken) <= 4
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 4


def test_each_worker_computes_with_one_thread_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for workers in (1, 2):
            found = list(ordered_map(range(4), lambda _: torch.get_num_threads(), workers))
            assert found == [1, 1, 1, 1]
            assert torch.get_num_threads() == 3
        fresh: list[int] = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [3]
        assert worker_count() == 3
        assert worker_count("cuda") > 1
        with one_thread_each():
            assert worker_count() == 1
    finally:
        torch.set_num_threads(before)
