"""staged_folder.py: resuming, starting anew, killed writers, and what is never overwritten."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from protoanomalyncd.core.errors import OutputError
from protoanomalyncd.storage.staged_folder import StagedFolder, fingerprint

MARKER = "metrics.json"


def staged(out: Path, identity: str | None = "one", overwrite: bool = False) -> StagedFolder:
    return StagedFolder(out, marker=MARKER, identity=identity, overwrite=overwrite)


def interrupted(out: Path, identity: str | None = "one") -> None:
    """A run that stopped after some work."""
    with contextlib.suppress(KeyboardInterrupt), staged(out, identity) as run:
        (run.work / "maps").touch()
        (run.results / "half.csv").touch()
        raise KeyboardInterrupt


def finished(out: Path, content: str = "{}", overwrite: bool = False) -> Path:
    with staged(out, overwrite=overwrite) as run:
        (run.results / MARKER).write_text(content)
    return out


def test_results_appear_at_the_end_only(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    with staged(out) as run:
        (run.results / "a.csv").touch()
        assert not out.exists()
    assert [p.name for p in out.iterdir()] == ["a.csv"]
    assert [p.name for p in out.parent.iterdir()] == ["run"]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    interrupted(tmp_path / "run")
    with staged(tmp_path / "run") as run:
        assert run.resumed
        assert (run.work / "maps").exists()
        assert list(run.results.iterdir()) == []  # results are written anew


def test_another_run_starts_anew(tmp_path: Path) -> None:
    interrupted(tmp_path / "run")
    with staged(tmp_path / "run", "two") as run:
        assert not run.resumed
        assert list(run.work.iterdir()) == []


def test_without_an_identity_a_failure_leaves_nothing(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", identity=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_state_starts_anew(tmp_path: Path, content: bytes) -> None:
    interrupted(tmp_path / "run")
    (tmp_path / ".run.partial" / "identity.json").write_bytes(content)
    with staged(tmp_path / "run") as run:
        assert not run.resumed


def test_work_can_be_thrown_away(tmp_path: Path) -> None:
    with contextlib.suppress(ValueError), staged(tmp_path / "run") as run:
        run.discard()
        raise ValueError("bad input")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_kept_unless_asked(tmp_path: Path) -> None:
    out = finished(tmp_path / "run")
    (out / "mine.txt").touch()
    with pytest.raises(OutputError, match="holds finished results; choose another folder or add"):
        staged(out).__enter__()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]  # nothing is left of the refusal
    finished(out, "new", overwrite=True)
    assert [p.name for p in out.iterdir()] == [MARKER]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_never_removed(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.doc").touch()
    with pytest.raises(OutputError, match="expected a new or empty folder, got one with other"):
        staged(tmp_path / "run", overwrite=overwrite).__enter__()
    assert (tmp_path / "run" / "thesis.doc").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert (finished(tmp_path / "run") / MARKER).is_file()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="expected a folder, got a file"):
        staged(tmp_path / "file").__enter__()
    with pytest.raises(OutputError, match="expected a folder that can be written to"):
        staged(tmp_path / "file" / "run").__enter__()
    with pytest.raises(OutputError, match="expected a folder that can be written to"):
        staged(tmp_path / ("x" * 300)).__enter__()


def test_a_failure_at_the_end_keeps_the_old_folder_and_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rename = finished(tmp_path / "run", "old"), Path.rename

    def full(source: Path, target: Path) -> Path:
        if source.name == "results":
            raise OSError(28, "No space left on device")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", full)
    with (
        pytest.raises(OutputError, match="No space left on device"),
        staged(out, overwrite=True) as run,
    ):
        (run.work / "maps").touch()
    assert (out / MARKER).read_text() == "old"
    monkeypatch.undo()
    with staged(out, overwrite=True) as run:
        assert run.resumed


def test_a_second_writer_is_told_and_changes_nothing(tmp_path: Path) -> None:
    with staged(tmp_path / "run") as first:
        (first.work / "maps").touch()
        for identity in ("one", "two", None):
            with pytest.raises(OutputError, match=rf"another process \({os.getpid()}\) is writing"):
                staged(tmp_path / "run", identity, overwrite=True).__enter__()
        assert (first.work / "maps").exists()
        (first.results / MARKER).write_text("first")
    assert (tmp_path / "run" / MARKER).read_text() == "first"


_KILLED = """
import os, shutil, sys
from pathlib import Path
from protoanomalyncd.storage.staged_folder import StagedFolder
left = int(sys.argv[2])
def counted(function):
    def call(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*arguments, **named)
    return call
for owner, name in ((Path, "rename"), (Path, "mkdir"), (Path, "unlink"), (os, "replace"),
                    (os, "open"), (shutil, "rmtree")):
    setattr(owner, name, counted(getattr(owner, name)))
with StagedFolder(Path(sys.argv[1]), marker="metrics.json", overwrite=True, identity="new") as run:
    for name in ("a.csv", "metrics.json"):
        (run.results / name).write_text("new")
"""


def test_whoever_is_killed_while_overwriting_leaves_the_old_or_the_new_whole(
    tmp_path: Path,
) -> None:
    """Killed before each operation on files in turn; the next call finds old or new, never half."""
    ends = set()
    for kill_at in range(60):
        out = tmp_path / str(kill_at) / "run"
        with staged(out, "old") as run:
            for name in ("a.csv", MARKER):
                (run.results / name).write_text("old")
        command = [sys.executable, "-c", _KILLED, str(out), str(kill_at)]
        code = subprocess.run(command, check=False).returncode
        with pytest.raises(OutputError, match="holds finished results"):
            staged(out, "old").__enter__()  # puts in order what was left
        whole = {(out / name).read_text() for name in ("a.csv", MARKER)}
        assert len(whole) == 1
        ends |= whole
        with staged(out, "new", overwrite=True) as run:
            (run.results / MARKER).write_text("newest")
        assert [p.name for p in out.parent.iterdir()] == ["run"]
        shutil.rmtree(out.parent)
        if code == 0:
            break
    assert code == 0
    assert kill_at > 8
    assert ends == {"old", "new"}


def test_the_fingerprint_depends_on_values_not_on_order() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
