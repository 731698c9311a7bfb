"""discovery/normality.py: what cannot be told from normal places is normal."""

from __future__ import annotations

import pytest
import torch

from protoanomalyncd.discovery.normality import FEWEST, NormalGate

WIDTH = 12


def places(n: int, seed: int = 0) -> torch.Tensor:
    """Normal places: the first direction varies much, the others little."""
    generator = torch.Generator().manual_seed(seed)
    rows = 0.1 * torch.randn(n, WIDTH, generator=generator)
    rows[:, 0] *= 20
    return rows + 1


def test_nothing_looks_normal_until_enough_places_are_known() -> None:
    gate = NormalGate(WIDTH, 0.9)
    assert not gate(places(50)).any()
    gate.fit(places(FEWEST - 1))
    assert not gate(places(50)).any()
    gate.fit(torch.ones(FEWEST, WIDTH))
    assert not gate(places(50)).any()


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_unseen_normal_places_pass_at_the_share_that_was_asked_for(share: float) -> None:
    gate = NormalGate(WIDTH, share)
    gate.fit(places(400))
    assert float(gate(places(2000, seed=1)).double().mean()) == pytest.approx(share, abs=0.06)


def test_distance_counts_by_direction() -> None:
    """As far as normal places reach is normal; the same way across them is not."""
    gate = NormalGate(WIDTH, 0.95)
    gate.fit(places(400))
    along, across = torch.ones(1, WIDTH), torch.ones(1, WIDTH)
    along[0, 0] += 2
    across[0, 1] += 2
    assert gate(along).item()
    assert not gate(across).item()


def test_state_is_restored_and_one_region_alone_gets_the_same() -> None:
    gate, other = NormalGate(WIDTH, 0.9), NormalGate(WIDTH, 0.9)
    gate.fit(places(100))
    other.load_state_dict(gate.state_dict())
    rows = places(30, seed=2)
    together = gate(rows)
    assert torch.equal(other(rows), together)
    assert [bool(gate(rows[i : i + 1])) for i in range(30)] == together.tolist()
