"""catalogue.py: names and mergers change how results are told, and can be saved."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import numpy as np
import pytest

from protoanomalyncd.catalogue import Catalogue
from protoanomalyncd.catalogue.mergers import add_up
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import OUTLIER, Discovery
from tests.unit.discovery.records import raw


def catalogue() -> Catalogue:
    return Catalogue(["normal", "defect 1", "defect 2", "defect 3"])


def test_new_names_are_told() -> None:
    made = catalogue()
    made.rename(2, "scratch")
    found = made.apply(raw(2, 0, -1))
    assert [found.class_name(i.class_id) for i in found.images] == ["scratch", "normal", "outlier"]
    assert found.normal_class == 0


def test_a_class_may_be_given_its_own_name_again() -> None:
    made = catalogue()
    made.rename(1, "defect 1")
    assert made.names[1] == "defect 1"


@pytest.mark.parametrize("name", ["normal", "defect 3", "outlier", " defect 3 "])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is taken; merge the classes instead"):
        catalogue().rename(1, name)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "tab\t"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="class name: expected"):
        catalogue().rename(1, name)


@pytest.mark.parametrize("class_id", [-1, 4])
def test_a_class_that_does_not_exist_is_refused(class_id: int) -> None:
    with pytest.raises(ConfigurationError, match=f"class: expected 0 to 3, got {class_id}"):
        catalogue().rename(class_id, "x")
    with pytest.raises(ConfigurationError, match="class: expected 0 to 3"):
        catalogue().merge([0, class_id])


def test_merged_classes_are_one() -> None:
    made = catalogue()
    assert made.merge([2, 3]) == 2
    found = made.apply(raw(3, 2, 1))
    assert [i.class_id for i in found.images] == [2, 2, 1]
    assert [r.class_id for r in found.regions] == [2, 2, 1]
    made.rename(3, "crack")  # either id names the merged class
    assert made.names == ("normal", "defect 1", "crack", "crack")


def test_mergers_chain() -> None:
    made = catalogue()
    made.merge([2, 3])
    assert made.merge([1, 3]) == 1
    assert [i.class_id for i in made.apply(raw(1, 2, 3)).images] == [1, 1, 1]


def test_normal_may_be_merged_into_another_class() -> None:
    made = catalogue()
    made.merge([1, 0])
    assert made.normal_class == 1
    assert made.apply(raw(0)).images[0].class_id == 1


@pytest.mark.parametrize("ids", [[], [1], [1, 1]])
def test_one_class_is_not_merged(ids: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="merge: expected at least two different classes"):
        catalogue().merge(ids)


def test_the_raw_result_is_left_alone() -> None:
    made, before = catalogue(), raw(3)
    made.merge([0, 3])
    made.apply(before)
    assert before.images[0].class_id == 3


def test_it_is_saved_as_json_and_read_back() -> None:
    made = catalogue()
    made.rename(1, "Öffnung")
    made.merge([2, 3])
    again = Catalogue.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again.to_dict() == made.to_dict()
    assert again.apply(raw(3, 1)) == made.apply(raw(3, 1))
    again.rename(1, "other")
    assert made.names[1] == "Öffnung"


def test_labelled_classes_follow_the_novel_ones_under_their_own_names() -> None:
    made = Catalogue(["normal", "defect 1"], 0, known=["scratch", "normal", "outlier"])
    assert made.names == ("normal", "defect 1", "scratch", "normal (known)", "outlier (known)")
    assert made.known_classes == (2, 3, 4)
    found = made.apply(raw(2, 1, -1))
    assert [found.class_name(i.class_id) for i in found.images] == [
        "scratch",
        "defect 1",
        "outlier",
    ]
    assert found.known_classes == (2, 3, 4)


def test_a_novel_class_may_turn_out_to_be_a_labelled_one() -> None:
    made = Catalogue(["normal", "defect 1"], 0, known=["scratch"])
    assert made.merge([2, 1]) == 2
    again = Catalogue.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again.names == ("normal", "scratch", "scratch")
    assert again.known_classes == (2,)
    assert [i.class_id for i in again.apply(raw(1, 2)).images] == [2, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["a", 3, "b", "c"]},
        {"names": ["a"]},
        {"target": [0, 1, 2, 4]},
        {"target": [0, 1, 2, 2.5]},
        {"target": [0, 1, 2, -1]},
        {"target": [0, 1]},
        {"normal_class": 4},
        {"normal_class": True},
        {"n_known": 5},
        {"n_known": "1"},
    ],
)
def test_a_saved_catalogue_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="catalogue: expected"):
        Catalogue.from_dict(catalogue().to_dict() | change)


def with_shares(*rows: tuple[float, ...], rejected: tuple[int, ...] = ()) -> Discovery:
    """Images and regions of these probabilities, as a model answers without any merger."""
    found = raw(*(OUTLIER if i in rejected else row.index(max(row)) for i, row in enumerate(rows)))

    def told(results: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            dataclasses.replace(result, confidence=max(row), probabilities=row)
            for result, row in zip(results, rows, strict=True)
        )

    return dataclasses.replace(found, images=told(found.images), regions=told(found.regions))


def told(found: Discovery) -> list[tuple[int, float]]:
    assert [(i.class_id, i.confidence) for i in found.images] == [
        (r.class_id, r.confidence) for r in found.regions
    ]
    return [(i.class_id, round(i.confidence, 9)) for i in found.images]


def test_two_halves_of_a_defect_win_together() -> None:
    """Neither has the largest probability, their sum has; the confidence is that sum."""
    made = catalogue()
    before = with_shares((0.1, 0.4, 0.3, 0.2), (0.1, 0.6, 0.2, 0.1), (0.0, 0.1, 0.2, 0.7))
    made.merge([3, 2])
    found = made.apply(before)
    assert told(found) == [(3, 0.5), (1, 0.6), (3, 0.9)]
    assert [i.probabilities for i in found.images] == [i.probabilities for i in before.images]


def test_what_was_rejected_stays_so_with_the_confidence_of_the_sum() -> None:
    made = catalogue()
    made.merge([2, 3])
    found = made.apply(with_shares((0.1, 0.4, 0.3, 0.2), (0.9, 0.1, 0.0, 0.0), rejected=(0,)))
    assert told(found) == [(OUTLIER, 0.5), (0, 0.9)]


def test_a_merger_that_is_taken_back_leaves_the_old_result() -> None:
    made, before = catalogue(), with_shares((0.1, 0.4, 0.3, 0.2), (0.3, 0.3, 0.3, 0.1))
    kept = made.to_dict()
    first = made.apply(before)
    made.merge([2, 3])
    assert told(made.apply(before)) != told(first)
    again = Catalogue.from_dict(kept).apply(before)
    assert again == first
    assert told(again) == told(before)


def test_a_novel_class_merged_into_a_labelled_one_adds_up_where_only_novel_ones_may_win() -> None:
    made = Catalogue(["normal", "a", "b"], 0, known=["scratch"])
    made.merge([3, 1, 2])
    assert told(made.apply(with_shares((0.4, 0.3, 0.3), (0.8, 0.1, 0.1)))) == [(3, 0.6), (0, 0.8)]
    assert told(made.apply(with_shares((0.4, 0.2, 0.1, 0.3)))) == [(3, 0.6)]


def test_adding_up_equals_a_loop_and_each_row_stands_alone() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 40).astype(np.float32)
    target = (0, 1, 1, 3, 0, 5)
    ids, sums = add_up(rows, target)
    for row, k, p in zip(rows, ids, sums, strict=True):
        merged = [0.0] * len(target)
        for own, share in zip(target, row, strict=False):
            merged[own] += float(share)
        assert (k, p) == (merged.index(max(merged)), pytest.approx(max(merged)))
        alone = add_up(row[None], target)
        assert (alone[0][0], alone[1][0]) == (k, p)


def test_many_results_are_told_within_a_second() -> None:
    row = tuple(np.random.default_rng(0).dirichlet(np.ones(12)).tolist())
    before = with_shares(*[row] * 5000)
    made = Catalogue([f"defect {k}" for k in range(12)], None)
    made.merge([1, 2])
    started = time.process_time()
    made.apply(before)
    assert time.process_time() - started < 1
