"""torch's own setting stands in for the GPU: it can be read and set without one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
import torch

from protoanomalyncd.vit.whole_float32 import whole_float32

GPU = torch.device("cuda")


def rounds() -> bool:
    return bool(torch.backends.cudnn.allow_tf32)


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    assert rounds()  # torch's default
    yield
    torch.backends.cudnn.allow_tf32 = True


def test_convolutions_do_not_round_inside_and_do_so_again_outside() -> None:
    with whole_float32(GPU):
        assert not rounds()
        with whole_float32(GPU):
            assert not rounds()
        assert not rounds()
    assert rounds()


def test_an_error_inside_puts_it_back() -> None:
    with pytest.raises(ZeroDivisionError), whole_float32(GPU):
        _ = 1 / 0
    assert rounds()


def test_nothing_is_set_for_the_cpu() -> None:
    with whole_float32(torch.device("cpu")):
        assert rounds()


def test_what_the_caller_chose_stays() -> None:
    torch.backends.cudnn.allow_tf32 = False
    with whole_float32(GPU):
        assert not rounds()
    assert not rounds()


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "rnn"), reason="needs torch 2.9")
def test_parts_that_the_caller_set_apart_stay() -> None:
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
    with whole_float32(GPU):
        assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert torch.backends.cudnn.rnn.fp32_precision == "ieee"


def test_the_last_of_several_threads_puts_it_back() -> None:
    both_inside, first_left = Barrier(2), Event()

    def first() -> None:
        with whole_float32(GPU):
            both_inside.wait(10)
        first_left.set()

    def second() -> bool:
        with whole_float32(GPU):
            both_inside.wait(10)
            assert first_left.wait(10)
            return rounds()

    with ThreadPoolExecutor(2) as pool:
        seen = [pool.submit(first), pool.submit(second)]
        assert seen[1].result(20) is False
        seen[0].result(20)
    assert rounds()
