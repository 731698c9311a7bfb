"""`evaluate` of what a run saved: broken files are one line, many classes take no time."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from protoanomalyncd.cli.main import main
from protoanomalyncd.reports.tables import PREDICTION_COLUMNS

HEADER = ",".join(PREDICTION_COLUMNS)


def _run(folder: Path, *rows: str, metrics: str = "{}") -> Path:
    folder.mkdir(exist_ok=True)
    text = "\r\n".join((HEADER, *rows, ""))
    (folder / "predictions.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    (folder / "metrics.json").write_text(metrics)
    return folder


def _row(image: str, class_id: object = 0, name: str = "a", true: str = "x") -> str:
    return f"{image},{class_id},{name},0.5,0.1,0.2,1,{true}"


@pytest.mark.parametrize(
    ("rows", "metrics"),
    [
        ([_row("1.png")], '{"known_classes": 5}'),
        ([_row("1.png")], '{"known_classes": null}'),
        ([_row("1.png")], '{"known_classes": [["x"]]}'),
        ([_row("1.png")], "[" * 100_000),
        ([_row("1" * 140_000)], "{}"),
        ([_row("1.png", class_id="9" * 100_000)], "{}"),
        ([_row("1.png", class_id=-7)], "{}"),
        (["1.png,0"], "{}"),
    ],
)
def test_broken_files_are_one_short_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[str], metrics: str
) -> None:
    assert main(["evaluate", str(_run(tmp_path / "run", *rows, metrics=metrics))]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert len(line) < 600


def test_any_name_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("[/]", "[bold]", "a\udcff", "z" * 500)
    rows = [_row(f"{k}.png", k, name, true=name) for k, name in enumerate(names)]
    target = tmp_path / "out.json"
    run = _run(tmp_path / "run", *rows, metrics='{"known_classes": ["[/]"]}')
    assert main(["evaluate", str(run), "--json", str(target)]) == 0
    assert "F1 1.000" in capsys.readouterr().out
    values = json.loads(target.read_text(encoding="utf-8"))
    assert set(values["classes"]) == set(names)


@pytest.mark.parametrize("target", ["file/x.json", "absent/x.json", "n" * 300])
def test_a_target_that_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    (tmp_path / "file").touch()
    run = _run(tmp_path / "run", _row("1.png"))
    assert main(["evaluate", str(run), "--json", str(tmp_path / target)]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write ")


def test_many_classes_are_no_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [_row(f"{i}.png", i % 1200, f"c{i % 1200}", f"t{i * 7 % 1200}") for i in range(2400)]
    run = _run(tmp_path / "run", *rows)
    before = time.process_time()
    assert main(["evaluate", str(run)]) == 0
    assert time.process_time() - before < 3  # a table of 1200 x 1200 took 18 s
    assert "1200 true and 1200 found classes is not shown" in " ".join(
        capsys.readouterr().out.split()
    )
