"""Where one fit or prediction keeps what it makes on the way, and whom it had to leave out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import Progress, Skipped
from protoanomalyncd.localisation import ObjectStore, map_store
from protoanomalyncd.storage.files import read_json, write_json
from protoanomalyncd.storage.map_store import MapStore

__all__ = ["Workspace", "silent"]

_IDENTITY = "fit.json"
_SECONDS = "seconds.json"


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(slots=True, eq=False)
class Workspace:
    """One call's folder, its stores, and its notes.

    Args:
        folder: of all intermediate results; exists.
        objects: object masks of the images.
        maps: raw anomaly maps of the images.
        on_progress: called with (stage, steps done, steps in all).
        skipped: what was left out so far, and why; grows.
        notes: images that are used with a reservation, and which; grows.
        keeper: removes a temporary folder when nobody needs it any more; None = it stays.
    """

    folder: Path
    objects: ObjectStore
    maps: MapStore
    on_progress: Progress
    skipped: list[Skipped]
    notes: list[Skipped] = field(default_factory=list)
    keeper: object = None

    @classmethod
    def open(
        cls,
        folder: str | Path | None,
        mask_maps: bool,
        skipped: Sequence[Skipped] = (),
        on_progress: Progress = silent,
    ) -> Workspace:
        """Make the folder where it is missing.

        Args:
            folder: None = a temporary one.
            mask_maps: maps are read silent outside of the object.
            skipped: what reading the data set has left out.
            on_progress: see `Workspace`.
        """
        keeper = None if folder else tempfile.TemporaryDirectory(prefix="protoanomalyncd-")
        path = Path(keeper.name if keeper else str(folder))
        path.mkdir(parents=True, exist_ok=True)
        objects = ObjectStore(path / "objects")
        maps = map_store(path / "maps", objects, mask_maps)
        return cls(path, objects, maps, on_progress, list(skipped), keeper=keeper)

    def claim(self, identity: str) -> None:
        """Take the folder for one fit; it may hold the work of the same one.

        Raises:
            ConfigurationError: it holds the work of another fit.
        """
        path = self.folder / _IDENTITY
        if path.is_file() and read_json(path).get("identity") != identity:
            raise ConfigurationError(
                f"work_dir {self.folder}: expected the work of this very fit or none, got that of "
                "other images or settings; give an empty folder"
            )
        write_json(path, {"identity": identity})

    @property
    def seconds(self) -> dict[str, float]:
        """Wall clock of each stage, over all calls that worked here [s]."""
        path = self.folder / _SECONDS
        return dict(read_json(path)) if path.is_file() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage; what an interrupted one took counts too."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.seconds
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
            write_json(self.folder / _SECONDS, seconds)
