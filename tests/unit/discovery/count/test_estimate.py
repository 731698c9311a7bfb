"""estimate.py: the candidates, the estimate, and going on after an interruption."""

from __future__ import annotations

import json

import pytest
import torch

from protoanomalyncd.config import CountConfig, PrototypeConfig
from protoanomalyncd.core.errors import DatasetError
from protoanomalyncd.core.records import CountEstimate
from protoanomalyncd.discovery.count import candidates, estimate, estimate_count
from protoanomalyncd.training import short_prototypes
from tests.unit.discovery.count.blobs import embedded


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prototype score has its own tests; here it need not be good."""
    monkeypatch.setattr(short_prototypes, "_STEPS", 2)


def count(data, config: CountConfig | None = None, **more) -> CountEstimate:  # type: ignore[no-untyped-def]
    return estimate_count(data, config or CountConfig(), PrototypeConfig(), 0, **more)


@pytest.mark.parametrize(
    ("n_regions", "n_quiet", "wanted"),
    [
        (100, 5, range(2, 21)),
        (30, 0, range(2, 11)),
        (30, 4, range(2, 12)),
        (4, 4, range(2, 3)),
        (2, 0, range(2, 3)),
        (1, 1, range(2, 3)),
    ],
)
def test_candidates_end_where_regions_run_out(n_regions: int, n_quiet: int, wanted: range) -> None:
    assert candidates(n_regions, n_quiet, CountConfig()) == wanted


@pytest.mark.parametrize(("n_regions", "n_quiet", "low"), [(1, 0, 2), (0, 50, 2), (6, 0, 7)])
def test_too_few_regions_are_one_line(n_regions: int, n_quiet: int, low: int) -> None:
    config = CountConfig(min_classes=low, max_classes=max(low, 9))
    with pytest.raises(
        DatasetError, match=r"^number of classes: expected .* got \d+; .*"
    ) as caught:
        candidates(n_regions, n_quiet, config)
    assert "--kinds" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("n_groups", "n_quiet", "n_base"), [(2, 0, 0), (5, 0, 2), (1, 6, 2), (4, 6, 0), (9, 3, 3)]
)
def test_clear_groups_are_counted_normal_included(n_groups: int, n_quiet: int, n_base: int) -> None:
    found = count(embedded(n_groups, 12, n_quiet, n_base))
    assert found.n_classes == n_groups + (1 if n_quiet else 0)
    assert found.n_classes == found.estimates["eigengaps"]
    assert found.with_normal == bool(n_quiet)
    assert found.with_labels == bool(n_base)
    assert all(len(curve) == len(found.candidates) for curve in found.curves.values())


def test_the_method_and_the_range_are_the_users() -> None:
    data = embedded(4, 6, n_quiet=4)
    for method in ("eigengaps", "prototype_score", "silhouette", "vmf_bic", "eigengap"):
        found = count(data, CountConfig(method=method))  # type: ignore[arg-type]
        assert found.n_classes == found.estimates[method]
        assert found.method == method
    narrow = count(data, CountConfig(min_classes=7, max_classes=9))
    assert narrow.candidates == (7, 8, 9)


def test_an_interrupted_estimate_goes_on_with_what_is_there() -> None:
    data = embedded(3, 9, n_quiet=4, n_base=2)
    seen: list[dict[int, float]] = []
    whole = count(data, on_score=lambda scores, total: seen.append(dict(scores)))
    assert [len(s) for s in seen] == list(range(1, len(whole.candidates) + 1))
    marked = {k: v + 100 for k, v in seen[2].items()}
    again = count(data, known_scores=marked)
    assert again.curves["prototype_score"][:3] == tuple(marked.values())
    assert again.curves["prototype_score"][3:] == whole.curves["prototype_score"][3:]


def test_many_regions_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "MOST_SAMPLES", 30)
    data = embedded(3, 30, n_base=2)
    thinned = estimate._thinned(data)
    assert int((thinned.labels < 0).sum()) == 30
    assert int((thinned.labels >= 0).sum()) == 60
    assert count(data).n_classes == 3


def test_two_regions_are_enough_for_two_classes() -> None:
    assert count(embedded(2, 1)).n_classes == 2


def test_the_record_survives_json() -> None:
    found = count(embedded(2, 6))
    assert CountEstimate.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert isinstance(found.n_classes, int)


def test_views_in_one_point_do_no_harm() -> None:
    data = embedded(1, 9)
    same = torch.zeros_like(data.views) + data.views[:1, :1]
    found = count(type(data)(same, data.anomalous, data.scores, data.labels))
    assert found.n_classes >= 2
