"""A folder that appears under its name only when everything in it is there; one writer at a time.

Runs, predictions, models, exports and prepared data sets are all written like this::

    with StagedFolder(out, marker="metrics.json", overwrite=overwrite) as staged:
        ...                    # fill staged.results; keep what is half done in staged.work

While the block runs, everything lies in a hidden folder beside the wanted one, locked for others.
At its end the old folder goes aside, the new one takes its place, then the old one is deleted: who
is killed in between leaves the one or the other whole, and the next call puts it in order. A block
that fails leaves nothing, unless there is an `identity`: then the work stays, and a later call of
the same identity goes on with it. Source: ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

try:
    import fcntl
except ImportError:  # a system without it has no locks here; everything else holds
    fcntl = None  # type: ignore[assignment]

from protoanomalyncd.core.errors import ModelFormatError, OutputError, ProtoAnomalyNCDError
from protoanomalyncd.storage.files import read_json, write_json

__all__ = ["StagedFolder", "fingerprint"]

_IDENTITY = "identity.json"
_LOCK = "lock"


def fingerprint(values: Mapping[str, Any]) -> str:
    """Hash of what a run depends on (JSON-able)."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class StagedFolder:
    """Where something is written, and where it will be; use it in a ``with`` statement.

    Args:
        target: the wanted folder.
        marker: a file that every finished folder of this kind holds.
        what: how messages call the target, such as ``--out``.
        overwrite: replace a finished folder.
        identity: see `fingerprint`; an unfinished folder of the same identity is gone on with. None
            = nothing unfinished is kept.

    Attributes:
        results: becomes the target.
        work: for what is half done; kept between calls of one identity, gone in the end.
        resumed: there was work of this identity.

    Raises:
        OutputError: (on entering) the target is a file, holds something else, is finished and
            `overwrite` was not asked for, is another process's work, or cannot be written.
    """

    def __init__(
        self,
        target: Path,
        *,
        marker: str,
        what: str = "--out",
        overwrite: bool = False,
        identity: str | None = None,
    ) -> None:
        self.target = target.absolute()
        self.results = self._hidden("partial") / "results"
        self.work = self._hidden("partial") / "work"
        self.resumed = False
        self._marker, self._what = marker, f"{what} {target}"
        self._overwrite, self._identity = overwrite, identity
        self._lock: int | None = None

    def __enter__(self) -> StagedFolder:
        self._refuse_others_files()
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._acquire()
            self._recover()
            self._refuse_finished()
            self._open()
        except OSError as error:
            self._release()
            raise self._cannot_write(error) from error
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._commit()
            elif self._identity is None:
                self.discard()
        except OSError as failure:
            raise self._cannot_write(failure) from failure
        finally:
            self._release()
        if isinstance(error, OSError) and not isinstance(error, ProtoAnomalyNCDError):
            raise self._cannot_write(error) from error

    def discard(self) -> None:
        """Remove the work: nothing of it can be used again."""
        self._remove(self._hidden("partial"))

    def _hidden(self, kind: str) -> Path:
        return self.target.with_name(f".{self.target.name}.{kind}")

    def _refuse_others_files(self) -> None:
        """Refuse a target that is no folder of this kind; before anything is made beside it."""
        try:
            if not self.target.exists() and not self.target.is_symlink():
                return
            if not self.target.is_dir():
                raise OutputError(f"{self._what}: expected a folder, got a file; choose another")
            foreign = any(self.target.iterdir()) and not self._finished()
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise self._cannot_write(error) from error
        if foreign:
            raise OutputError(
                f"{self._what}: expected a new or empty folder, got one with other files in it; "
                "choose another"
            )

    def _refuse_finished(self) -> None:
        if self._finished() and not self._overwrite:
            raise OutputError(
                f"{self._what}: holds finished results; choose another folder or add --overwrite"
            )

    def _finished(self) -> bool:
        return (self.target / self._marker).is_file()

    def _acquire(self) -> None:
        """Lock the hidden folder, which another process may be about to remove."""
        partial = self._hidden("partial")
        while True:
            partial.mkdir(exist_ok=True)
            try:
                lock = os.open(partial / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:  # removed in between
                continue
            try:
                if fcntl is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(lock, 20).decode(errors="replace").strip()
                os.close(lock)
                raise OutputError(
                    f"{self._what}: another process ({holder or 'unknown'}) is writing there; wait "
                    "for it, or choose another folder"
                ) from error
            if _same_file(lock, partial / _LOCK):
                self._lock = lock
                os.ftruncate(lock, 0)
                os.pwrite(lock, str(os.getpid()).encode(), 0)
                return
            os.close(lock)

    def _release(self) -> None:
        if self._lock is None:
            return
        partial = self._hidden("partial")
        with suppress(OSError):  # nothing but the lock: nothing was begun, or all is done
            if [path.name for path in partial.iterdir()] == [_LOCK]:
                self._remove(partial)
        os.close(self._lock)
        self._lock = None

    def _recover(self) -> None:
        """Put in order what a killed process has left."""
        for left in self.target.parent.glob(f"{_escaped(self._hidden('removed').name)}-*"):
            shutil.rmtree(left, ignore_errors=True)
        older = self._hidden("partial") / "older"
        if not older.exists():
            return
        if self.target.exists():  # the new one had taken its place
            shutil.rmtree(older)
        else:
            older.rename(self.target)

    def _open(self) -> None:
        partial = self._hidden("partial")
        self.resumed = self._identity is not None and self._kept_identity() == self._identity
        for left in partial.iterdir():
            if left.name != _LOCK and not (self.resumed and left.name in (_IDENTITY, "work")):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        if self._identity is not None:
            write_json(partial / _IDENTITY, {"identity": self._identity})
        self.work.mkdir(exist_ok=True)
        self.results.mkdir()

    def _kept_identity(self) -> object:
        try:
            return read_json(self._hidden("partial") / _IDENTITY).get("identity")
        except ModelFormatError:  # there is none, or it is damaged
            return None

    def _commit(self) -> None:
        """Old aside, new in, then delete."""
        partial = self._hidden("partial")
        older = partial / "older"
        if self.target.exists():
            self.target.rename(older)
        try:
            self.results.rename(self.target)
        except OSError:
            if older.exists():
                older.rename(self.target)
            raise
        self._remove(partial)

    def _remove(self, partial: Path) -> None:
        """Remove the hidden folder under another name: who locks the old name gets a new folder."""
        gone = self._hidden("removed").with_name(f"{self._hidden('removed').name}-{os.getpid()}")
        try:
            partial.rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)

    def _cannot_write(self, error: OSError) -> OutputError:
        if isinstance(error, OutputError):
            return error
        return OutputError(
            f"{self._what}: expected a folder that can be written to, got "
            f"'{error.strerror or error}'; choose another, or free some space"
        )


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _escaped(name: str) -> str:
    """A name in a pattern of `Path.glob`."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
