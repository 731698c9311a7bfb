"""run_folder.py: resuming, starting anew, and what is never overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protoanomalyncd.core.errors import OutputError
from protoanomalyncd.storage.staged_folder import RunFolder, fingerprint


def begun(out: Path, identity: str = "one") -> RunFolder:
    """A run that was interrupted after some work."""
    run = RunFolder(out, identity)
    run.work.mkdir(exist_ok=True)
    (run.work / "maps").touch()
    (run.results / "half.csv").touch()
    run.note_seconds({"maps": 2.0})
    return run


def finished(out: Path, **arguments: bool) -> RunFolder:
    run = RunFolder(out, "one", **arguments)
    (run.results / "metrics.json").write_text("{}")
    run.finish()
    return run


def test_results_appear_at_the_end_only(tmp_path: Path) -> None:
    run = begun(tmp_path / "deep" / "run")
    assert not run.out.exists()
    run.finish()
    assert [p.name for p in run.out.iterdir()] == ["half.csv"]
    assert [p.name for p in run.out.parent.iterdir()] == ["run"]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    run = RunFolder(tmp_path / "run", "one")
    assert run.resumed
    assert (run.work / "maps").exists()
    assert list(run.results.iterdir()) == []  # results are written anew
    assert run.seconds == {"maps": 2.0}
    run.note_seconds({"maps": 1.0, "train": 5.0})
    assert RunFolder(tmp_path / "run", "one").seconds == {"maps": 3.0, "train": 5.0}


def test_another_run_starts_anew(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    run = RunFolder(tmp_path / "run", "two")
    assert not run.resumed
    assert not (run.work / "maps").exists()
    assert run.seconds == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_state_starts_anew(tmp_path: Path, content: bytes) -> None:
    (begun(tmp_path / "run").partial / "state.json").write_bytes(content)
    assert not RunFolder(tmp_path / "run", "one").resumed


def test_work_can_be_thrown_away(tmp_path: Path) -> None:
    begun(tmp_path / "run").discard()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_kept_unless_asked(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    (run.out / "mine.txt").touch()
    with pytest.raises(OutputError, match="holds a finished run; choose another folder or add --o"):
        RunFolder(tmp_path / "run", "one")
    finished(tmp_path / "run", overwrite=True)
    assert [p.name for p in run.out.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_never_removed(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.doc").touch()
    with pytest.raises(OutputError, match="expected a new or empty folder, got one with other"):
        RunFolder(tmp_path / "run", "one", overwrite)
    assert (tmp_path / "run" / "thesis.doc").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert (finished(tmp_path / "run").out / "metrics.json").is_file()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="expected a folder, got a file"):
        RunFolder(tmp_path / "file", "one")
    with pytest.raises(OutputError, match="expected a folder that can be written to"):
        RunFolder(tmp_path / "file" / "run", "one")


def test_a_full_disk_at_the_end_keeps_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(tmp_path / "run")
    replace = os.replace

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"cannot put the results at .*: No space left"):
        run.finish()
    monkeypatch.setattr(os, "replace", replace)
    assert RunFolder(tmp_path / "run", "one").resumed


def test_the_fingerprint_depends_on_values_not_on_order() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
