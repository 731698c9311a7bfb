"""The number of classes is estimated, shown, saved, and can be set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.core.records import CountEstimate
from protoanomalyncd.discovery.count import estimate
from protoanomalyncd.storage import names
from protoanomalyncd.training import short_prototypes
from tests.journeys.conftest import World

AUTO = (
    *("--n_novel_classes", "auto", "--count.max_classes", "4"),
    *("--detector", "patch_memory", "--detector.image_size", 64, "--detector.memory_size", 500),
)


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_prototypes, "_STEPS", 2)


def test_an_interrupted_estimate_goes_on_and_the_run_tells_the_number(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    calls: list[int] = []
    score = estimate.prototype_score

    def interrupted(data, groups, *more):  # type: ignore[no-untyped-def]
        calls.append(int(groups.max()) + 1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(data, groups, *more)

    monkeypatch.setattr(estimate, "prototype_score", interrupted)
    command = (world.images, "--labelled", world.labelled, "--out", out, *AUTO)
    assert world.discover(*command) == 130
    assert world.discover(*command) == 0
    assert len(calls) == len(set(calls)) + 1, "what was scored before is not scored again"

    count = CountEstimate.from_dict(json.loads((out / names.COUNT).read_text("utf-8")))
    assert count.candidates == (2, 3, 4)
    assert f"estimated {count.n_classes}" in " ".join(capsys.readouterr().out.split())
    metrics = json.loads((out / names.METRICS).read_text("utf-8"))
    assert metrics["n_classes_estimated"] == count.n_classes
    assert 'id="count"' in (out / names.REPORT).read_text("utf-8")
    model = ProtoAnomalyNCD.from_pretrained(out / names.MODEL_FOLDER)
    assert model.config.n_novel_classes == "auto"
    assert model.catalogue_.count == count
    assert len(model.catalogue_) - len(model.catalogue_.known_classes) == count.n_classes


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--count.min_classes", "6", "--count.max_classes", "3"),
            "count.max_classes: expected at least count.min_classes (6), got 3",
        ),
        (("--count.min_classes", "500", "--count.max_classes", "600"), "anomalous regions to"),
    ],
)
def test_a_range_of_no_use_is_one_line(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    line: str,
) -> None:
    assert world.discover(world.images, "--out", tmp_path / "x", *AUTO[:2], *options) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_a_given_number_is_not_estimated(world: World) -> None:
    assert not (world.run / names.COUNT).exists()
    assert 'id="count"' not in (world.run / names.REPORT).read_text("utf-8")
