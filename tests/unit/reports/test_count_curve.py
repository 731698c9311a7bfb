"""The curves behind an estimated number of classes: on the page, on the terminal, and left out."""

from __future__ import annotations

import dataclasses

from protoanomalyncd.core.records import CountEstimate
from protoanomalyncd.reports import render_report
from protoanomalyncd.reports.count_curve import build_count
from protoanomalyncd.reports.summary import count_line
from tests.unit.reports.builder import discovery, report

ESTIMATE = CountEstimate(
    n_classes=4,
    method="eigengaps",
    candidates=(2, 3, 4, 5),
    curves={
        "eigengaps": (0.1, 0.2, 0.9, 0.1),
        "prototype_score": (1.5, 1.8, 1.7, 1.6),
        "silhouette": (0.0, 0.0, 0.0, 0.0),
    },
    estimates={"eigengaps": 4, "prototype_score": 3, "silhouette": 2},
    with_normal=True,
    with_labels=False,
)


def test_the_page_draws_both_curves_and_says_how_to_set_the_number() -> None:
    found = dataclasses.replace(discovery(4), count=ESTIMATE)
    page = render_report(report(found, kinds_given=False))
    assert 'id="count"' in page
    assert page.count("<figure>") == 2
    assert "Estimated: 4, normal included, out of 2 to 5." in page
    assert "--n_novel_classes" in page
    assert "<title>4: 0.9</title>" in page
    assert "Prototype score S(K): 3" in page
    assert "without its first term" in page


def test_a_given_number_has_no_section() -> None:
    assert 'id="count"' not in render_report(report(discovery(4)))
    assert build_count(None) is None


def test_curves_rise_to_the_preferred_candidate_and_flat_ones_do_no_harm() -> None:
    section = build_count(ESTIMATE)
    assert section is not None
    for curve in section.curves:
        highest = min(curve.points, key=lambda point: point[1])
        assert highest[2] == curve.best
    flat = build_count(dataclasses.replace(ESTIMATE, method="silhouette", n_classes=2))
    assert flat is not None
    assert len({y for _, y, _, _ in flat.curves[0].points}) == 1


def test_one_curve_where_the_prototype_score_decides() -> None:
    section = build_count(dataclasses.replace(ESTIMATE, method="prototype_score"))
    assert section is not None
    assert len(section.curves) == 1


def test_the_summary_says_what_was_estimated_and_how_to_set_it() -> None:
    line = count_line(ESTIMATE)
    assert line.startswith("number of classes: estimated 4, normal included")
    assert "you can set it with --n_novel_classes" in line
