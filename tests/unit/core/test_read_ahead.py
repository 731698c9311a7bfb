from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from protoanomalyncd.core.errors import ImageError
from protoanomalyncd.core.records import Sample, Skipped
from protoanomalyncd.core.threads import read_ahead

SAMPLES = [Sample(Path(f"{i}.png"), f"{i}.png") for i in range(10)]


def test_keeps_the_order_and_turns_bad_input_into_a_reason() -> None:
    def read(sample: Sample) -> int:
        if sample.name == "3.png":
            raise ImageError("expected an image,\n got none")
        if sample.name == "4.png":
            raise OSError("disk gone")
        return int(sample.path.stem)

    results = list(read_ahead(SAMPLES, read))
    assert [sample for sample, _ in results] == SAMPLES
    assert results[3][1] == Skipped("3.png", "expected an image, got none")
    assert results[4][1] == Skipped("4.png", "disk gone")
    assert [r for _, r in results if not isinstance(r, Skipped)] == [0, 1, 2, 5, 6, 7, 8, 9]


def test_other_errors_are_not_hidden() -> None:
    def read(sample: Sample) -> int:
        raise KeyError(sample.name)

    with pytest.raises(KeyError):
        list(read_ahead(SAMPLES, read))


def test_reads_only_a_few_items_ahead() -> None:
    read: list[str] = []
    results = read_ahead(SAMPLES, lambda sample: read.append(sample.name), ahead=3)
    next(results)
    results.close()
    assert len(read) <= 3
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name and t.is_alive()]


def test_large_items_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protoanomalyncd.core.threads._HELD_BYTES", 1000)
    read: list[str] = []

    def large(sample: Sample) -> tuple[str, np.ndarray]:
        read.append(sample.name)
        return sample.name, np.zeros(2000, np.uint8)

    results = read_ahead(SAMPLES, large)
    next(results)
    time.sleep(0.2)
    assert len(read) <= 2  # one is held; the next is not begun
    assert len([item for item in results if not isinstance(item[1], Skipped)]) == 9
    results = read_ahead(SAMPLES, large)
    next(results)
    results.close()  # who waits for room is let go
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name and t.is_alive()]
