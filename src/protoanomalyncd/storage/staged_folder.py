"""A run's folder: it appears under its name only when everything in it is complete.

While a run is under way its work lies in a hidden folder beside the wanted one. A run that was
interrupted goes on there; a run with other settings or images starts anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protoanomalyncd.core.errors import ModelFormatError, OutputError
from protoanomalyncd.storage.files import ensure_folder, read_json, write_json

__all__ = ["RunFolder", "fingerprint"]

_STATE = "state.json"


def fingerprint(values: Mapping[str, Any]) -> str:
    """Hash of what a run depends on (JSON-able)."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class RunFolder:
    """Where a run works, and where its results will be.

    Args:
        out: the wanted folder.
        identity: see `fingerprint`.
        overwrite: replace a finished run of that name.

    Raises:
        OutputError: `out` holds a finished run or other files, or cannot be written.
    """

    def __init__(self, out: Path, identity: str, overwrite: bool = False) -> None:
        self.out = out.absolute()
        self.partial = self.out.with_name(f".{self.out.name}.partial")
        self._check_target(overwrite)
        ensure_folder(self.out.parent)
        self.resumed = self._same_run(identity)
        if not self.resumed and self.partial.exists():
            shutil.rmtree(self.partial)
        ensure_folder(self.partial)
        self.seconds: dict[str, float] = {}
        if self.resumed:
            self.seconds = dict(read_json(self.partial / _STATE).get("seconds", {}))
        write_json(self.partial / _STATE, {"identity": identity, "seconds": self.seconds})
        self._identity = identity
        self.work = self.partial / "work"
        self.results = self.partial / "results"
        if self.results.exists():
            shutil.rmtree(self.results)
        self.results.mkdir()

    def note_seconds(self, seconds: Mapping[str, float]) -> None:
        """Keep the time spent so far, for a run that goes on later."""
        total = {k: self.seconds.get(k, 0.0) + v for k, v in seconds.items()} | {
            k: v for k, v in self.seconds.items() if k not in seconds
        }
        write_json(self.partial / _STATE, {"identity": self._identity, "seconds": total})

    def finish(self) -> None:
        """Put the results in place and remove the work."""
        try:
            if self.out.exists():
                shutil.rmtree(self.out)
            os.replace(self.results, self.out)
        except OSError as error:
            raise OutputError(
                f"cannot put the results at {self.out}: {error.strerror or error}"
            ) from error
        shutil.rmtree(self.partial, ignore_errors=True)

    def discard(self) -> None:
        """Remove the work: nothing of it can be used again."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def _same_run(self, identity: str) -> bool:
        try:
            return read_json(self.partial / _STATE).get("identity") == identity
        except ModelFormatError:  # there is none, or it is damaged
            return False

    def _check_target(self, overwrite: bool) -> None:
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise OutputError(f"--out {self.out}: expected a folder, got a file")
        if not any(self.out.iterdir()):
            return
        if not (self.out / "metrics.json").is_file():
            raise OutputError(
                f"--out {self.out}: expected a new or empty folder, got one with other files in it"
            )
        if not overwrite:
            raise OutputError(
                f"--out {self.out}: holds a finished run; choose another folder or add --overwrite"
            )
