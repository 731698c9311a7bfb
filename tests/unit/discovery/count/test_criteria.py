"""criteria.py: partitions that refine each other, silhouette and BIC against naive loops."""

from __future__ import annotations

import numpy as np
import pytest

from protoanomalyncd.discovery.count.criteria import (
    negative_bic,
    principal,
    silhouettes,
    ward_partitions,
)
from protoanomalyncd.prototypes.vmf import log_normaliser
from tests.unit.discovery.count.blobs import groups


def naive_silhouette(z: np.ndarray, ids: np.ndarray) -> float:
    values = []
    for i in range(len(z)):
        far = [np.linalg.norm(z[i] - z[j]) for j in range(len(z))]
        own = [far[j] for j in range(len(z)) if ids[j] == ids[i] and j != i]
        if not own:
            values.append(0.0)
            continue
        a = np.mean(own)
        b = min(
            np.mean([far[j] for j in range(len(z)) if ids[j] == k]) for k in set(ids) - {ids[i]}
        )
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


def test_partitions_refine_each_other() -> None:
    partitions = ward_partitions(groups(4, 6, 0.2), 10)
    assert list(partitions) == list(range(1, 11))
    for k, ids in partitions.items():
        assert set(ids) == set(range(k))
        if k > 1:
            pairs = {(a, b) for a, b in zip(ids, partitions[k - 1], strict=True)}
            assert len(pairs) == k


def test_one_sample_is_one_group() -> None:
    assert ward_partitions(groups(1, 1), 1)[1].tolist() == [0]


def test_silhouette_as_a_loop_gives_it() -> None:
    z = groups(3, 5, 0.3)
    partitions = ward_partitions(z, 6)
    found = silhouettes(z, partitions)
    assert found[1] == 0
    for k in range(2, 7):
        assert found[k] == pytest.approx(naive_silhouette(z, partitions[k]), abs=1e-9)


def test_bic_as_a_loop_gives_it() -> None:
    z = principal(groups(3, 8, 0.3), 16)
    ids = np.repeat(np.arange(3), 8)
    d = z.shape[1]
    from protoanomalyncd.prototypes.vmf import concentration

    sums = [z[ids == k].sum(axis=0) for k in range(3)]
    kappa = float(concentration(d, sum(np.linalg.norm(s) for s in sums) / len(z)))
    total = 0.0
    for row in z:
        density = 0.0
        for s in sums:
            cosine = row @ (s / np.linalg.norm(s))
            density += np.exp(float(log_normaliser(d, kappa)) + kappa * cosine) / 3
        total += np.log(density)
    parameters = 3 * (d - 1) + 1 + 2
    expected = (2 * total - parameters * np.log(len(z))) / len(z)
    assert negative_bic(groups(3, 8, 0.3), {3: ids})[3] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("criterion", [silhouettes, negative_bic])
def test_both_prefer_the_truth_on_clear_groups(criterion) -> None:  # type: ignore[no-untyped-def]
    z = groups(4, 15, 0.1)
    values = criterion(z, ward_partitions(z, 9))
    assert max(values, key=values.get) == 4


def test_principal_directions_are_of_unit_length_even_at_the_mean() -> None:
    z = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(np.linalg.norm(principal(z, 2), axis=1), 1)
