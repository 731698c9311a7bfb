"""catalogue.py: names and mergers change how results are told, and can be saved."""

from __future__ import annotations

import json

import pytest

from protoanomalyncd.catalogue.catalogue import Catalogue
from protoanomalyncd.core.errors import ConfigurationError
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
