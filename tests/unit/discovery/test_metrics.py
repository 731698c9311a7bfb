"""Metrics against brute force over all matchings, and the conventions that they state."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import f1_score

from protoanomalyncd.core.errors import InputError
from protoanomalyncd.discovery.metrics import ClusterMetrics, evaluate, split_accuracy


def brute_force_f1(true: list, found: list[int]) -> float:
    """Best accuracy over all one-to-one assignments of ids to classes; -1 is never right."""
    ids = sorted(set(found) - {-1})
    targets = [*set(true), *(object() for _ in ids)]
    best = 0
    for chosen in itertools.permutations(targets, len(ids)):
        name_of = dict(zip(ids, chosen, strict=True))
        best = max(best, sum(name_of.get(k) == t for t, k in zip(true, found, strict=True)))
    return best / len(true)


def loop_nmi(true: list, found: list[int]) -> float:
    """Mutual information over the mean of the two entropies."""
    n = len(true)

    def entropy(counts: Counter) -> float:
        return -sum(c / n * math.log(c / n) for c in counts.values())

    rows, columns, cells = Counter(true), Counter(found), Counter(zip(true, found, strict=True))
    shared = sum(c / n * math.log(c * n / (rows[t] * columns[k])) for (t, k), c in cells.items())
    return shared / ((entropy(rows) + entropy(columns)) / 2)


def loop_ari(true: list, found: list[int]) -> float:
    """Adjusted Rand index from pairs of samples."""
    pairs = list(itertools.combinations(range(len(true)), 2))
    same_true = [true[i] == true[j] for i, j in pairs]
    same_found = [found[i] == found[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(same_true, same_found, strict=True))
    expected = sum(same_true) * sum(same_found) / len(pairs)
    return (both - expected) / ((sum(same_true) + sum(same_found)) / 2 - expected)


def assert_consistent(metrics: ClusterMetrics, true: list, found: list[int]) -> None:
    """The parts tell one story: confusion, matching, per-class scores, totals."""
    table = np.array(metrics.confusion)
    assert table.shape == (len(metrics.classes), len(metrics.found))
    assert table.sum() == metrics.n_samples == len(true)
    for name, row in zip(metrics.classes, metrics.confusion, strict=True):
        for k, count in zip(metrics.found, row, strict=True):
            cell = sum(t == name and f == k for t, f in zip(true, found, strict=True))
            assert count == cell
    right = 0
    for k, name in metrics.matching.items():
        assert metrics.per_class[name].found == k
        right += metrics.confusion[metrics.classes.index(name)][metrics.found.index(k)]
    assert metrics.f1 == pytest.approx(right / len(true))
    for name, scores in metrics.per_class.items():
        mine = [t == name for t in true]
        called = [scores.found is not None and k == scores.found for k in found]
        assert scores.support == sum(mine)
        assert scores.f1 == pytest.approx(f1_score(mine, called, zero_division=0))
        hits = sum(a and b for a, b in zip(mine, called, strict=True))
        assert scores.recall == pytest.approx(hits / sum(mine))
        assert scores.precision == pytest.approx(hits / max(1, sum(called)))


@pytest.mark.parametrize("rejected", [False, True], ids=["all", "some_rejected"])
@pytest.mark.parametrize(("n_true", "n_found"), [(2, 2), (3, 3), (4, 2), (2, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_against_brute_force(seed: int, n_true: int, n_found: int, rejected: bool) -> None:
    draw = np.random.default_rng(seed)
    true = [f"class {k}" for k in draw.integers(n_true, size=30)]
    found = [int(k) * 7 for k in draw.integers(n_found, size=30)]
    if rejected:
        found[::6] = [-1] * 5
    metrics = evaluate(true, found)
    assert metrics.f1 == pytest.approx(brute_force_f1(true, found))
    assert metrics.nmi == pytest.approx(loop_nmi(true, found))
    assert metrics.ari == pytest.approx(loop_ari(true, found))
    assert metrics.n_classes_true == len(set(true))
    assert metrics.n_classes_found == len(set(found) - {-1})
    assert metrics.n_rejected == found.count(-1)
    assert_consistent(metrics, true, found)


def test_f1_is_micro_f1_after_matching() -> None:
    draw = np.random.default_rng(3)
    true, found = draw.integers(4, size=50).tolist(), draw.integers(6, size=50).tolist()
    metrics = evaluate(true, found)
    renamed = [metrics.matching.get(k, 100 + k) for k in found]
    assert metrics.f1 == pytest.approx(f1_score(true, renamed, average="micro"))


def test_perfect_up_to_names() -> None:
    metrics = evaluate(["crack", "good", "crack"], [9, 2, 9])
    assert (metrics.nmi, metrics.ari, metrics.f1) == (1, 1, 1)
    assert metrics.matching == {2: "good", 9: "crack"}
    assert metrics.classes == ("crack", "good")
    assert metrics.found == (2, 9)
    assert metrics.confusion == ((0, 2), (1, 0))


def test_names_and_ids_may_be_renamed() -> None:
    draw = np.random.default_rng(5)
    true, found = draw.integers(4, size=60).tolist(), draw.integers(4, size=60).tolist()
    metrics = evaluate(true, found)
    other = evaluate([f"z{9 - k}" for k in true], [(k * 3 + 1) % 4 for k in found])
    for name in ("nmi", "ari", "f1"):
        assert getattr(other, name) == pytest.approx(getattr(metrics, name))


def test_rejected_samples_are_a_cluster_and_an_error() -> None:
    metrics = evaluate(["a", "a", "b", "b"], [0, 0, -1, -1])
    assert (metrics.nmi, metrics.ari) == (1, 1)  # a cluster of their own, here a pure one
    assert metrics.f1 == 0.5  # and yet never right
    assert metrics.n_classes_found == 1
    assert metrics.found == (0, -1)
    assert metrics.confusion == ((2, 0), (0, 2))
    assert metrics.matching == {0: "a"}
    assert metrics.per_class["b"].found is None
    assert metrics.per_class["b"].recall == 0


def test_everything_rejected() -> None:
    metrics = evaluate(["a", "b", "b"], [-1, -1, -1])
    assert (metrics.nmi, metrics.ari, metrics.f1) == (0, 0, 0)
    assert metrics.n_classes_found == 0
    assert metrics.matching == {}


def test_an_id_that_shares_no_sample_with_a_class_is_not_matched_to_it() -> None:
    metrics = evaluate(["a", "a", "b"], [0, 1, 0])
    assert metrics.f1 == pytest.approx(2 / 3)
    assert metrics.matching == {0: "b", 1: "a"}
    metrics = evaluate(["a", "a", "a", "b"], [0, 0, 1, 0])
    assert metrics.matching == {0: "a"}
    assert metrics.f1 == 0.5


@pytest.mark.parametrize("true", [["only"] * 3, [0, 0, 0]])
def test_one_class(true: list) -> None:
    assert evaluate(true, [4, 4, 4]).f1 == 1
    assert evaluate(true, [4, 4, 5]).f1 == pytest.approx(2 / 3)


def test_one_sample() -> None:
    metrics = evaluate(["a"], [0])
    assert (metrics.nmi, metrics.ari, metrics.f1) == (1, 1, 1)


def test_any_names_survive_json() -> None:
    true = ["ä/ü 1", 1, "1", -5, "", np.int64(1), np.str_("1")]
    metrics = evaluate(true, np.array([0, 1, 2, 3, 4, 1, 2]))
    assert metrics.f1 == 1
    assert metrics.classes == (-5, 1, "", "1", "ä/ü 1")
    values = json.loads(json.dumps(metrics.to_dict()))
    assert values["matching"][1] == {"found": 1, "class": 1}
    assert values["matching"][2] == {"found": 2, "class": "1"}
    assert values["confusion"] == [list(row) for row in metrics.confusion]
    assert [c["class"] for c in values["per_class"]] == list(metrics.classes)
    assert set(values) == set(ClusterMetrics.__slots__)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="got 2 and 1"):
        evaluate(["a", "b"], [0])
    with pytest.raises(InputError, match="got none"):
        evaluate([], [])
    with pytest.raises(InputError, match="at least -1, got -2"):
        evaluate(["a"], [-2])


@pytest.mark.parametrize("seed", range(5))
def test_split_accuracy_is_read_from_one_matching(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = [str(name) for name in rng.choice(["a", "b", "c", "d"], 40)]
    found = [int(k) for k in rng.integers(-1, 5, 40)]
    split = split_accuracy(true, found, {"a", "b"})
    assert split.all == pytest.approx(brute_force_f1(true, found))
    matching = evaluate(true, found).matching
    for value, names, n in ((split.old, "ab", split.n_old), (split.new, "cd", split.n_new)):
        rows = [(t, k) for t, k in zip(true, found, strict=True) if t in names]
        assert n == len(rows)
        assert value == pytest.approx(sum(matching.get(k) == t for t, k in rows) / len(rows))
    assert split.n_old * split.old + split.n_new * split.new == pytest.approx(40 * split.all)


def test_a_part_without_samples_has_no_accuracy() -> None:
    split = split_accuracy(["a", "a"], [0, -1], {"z"})
    assert (split.all, split.old, split.new, split.n_old, split.n_new) == (0.5, None, 0.5, 0, 2)
