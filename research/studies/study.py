"""What a study compares: rows of settings, as its YAML file names them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError
from research.published import Published

__all__ = ["METHODS", "Row", "Study", "merged", "read_settings", "read_study"]

PUBLISHED = "published"
"""Settings below it are options of `Published`."""
METHODS = ("discover", "kmeans", "agglomerative", "gcd_kmeans")
FEATURES = ("unguided", "masked", "map_weighted", "trained")

_KEYS = (
    *("images", "labelled", "maps", "object_masks"),
    *("per_class", "seeds", "base", "rows", "grid"),
)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: as it stands in the table.
        settings: nested settings of this row, over those of the study; ``published`` holds the
            options of `Published`.
        method: ``discover`` (the whole method), or how untrained features are clustered:
            ``kmeans``, ``agglomerative`` (Ward), ``gcd_kmeans`` (semi-supervised k-means).
        features: of the clustering rows: class tokens of the crops, ``unguided`` or ``masked``
            (hard guidance); ``map_weighted`` (patches of the whole image, weighted by the map);
            ``trained`` (class tokens after training).
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str = "discover"
    features: str = "unguided"

    def __post_init__(self) -> None:
        _require(self.method in METHODS, f"row {self.name!r}: method", METHODS, self.method)
        _require(self.features in FEATURES, f"row {self.name!r}: features", FEATURES, self.features)


@dataclass(frozen=True)
class Study:
    """Data, seeds and rows.

    Args:
        images: MVTec AD layout, with types that the metrics compare with.
        labelled: base set of known defects.
        maps: anomaly maps of any detector.
        object_masks: where the object is; None = as `localiser` has it. A row that is to guide
            as if there were none sets `embedding.guidance.background_factor` to the object's.
        per_class: at most so many images of each type, drawn once; None = all.
        seeds: each row is run with each of them.
        base: nested settings of every row.
        rows: at least one.
    """

    images: Path
    rows: tuple[Row, ...]
    labelled: Path | None = None
    maps: Path | None = None
    object_masks: Path | None = None
    per_class: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    base: Mapping[str, Any] = field(default_factory=dict)

    def config(self, row: Row, seed: int) -> Config:
        """Every setting of one run.

        Raises:
            ConfigurationError: a setting is unknown or out of its range; the row is named.
        """
        values = merged(merged(self.base, row.settings), {"seed": seed})
        values.pop(PUBLISHED, None)
        if self.maps is None and isinstance(values.get("detector"), Mapping):
            # What a preset says of given maps; a detector has no such option.
            values["detector"] = {
                k: v for k, v in values["detector"].items() if k != "coarse_smoothing"
            }
        with _named(row):
            return Config.from_dict(values)

    def published(self, row: Row) -> Published:
        """What the row does as a published method does it: its settings below ``published:``.

        Raises:
            ConfigurationError: an option is unknown or out of its range; the row is named.
        """
        with _named(row):
            return Published.from_dict(merged(self.base, row.settings).get(PUBLISHED) or {})


def read_study(path: Path, **instead: Any) -> Study:
    """Read a study and check every setting of every row.

    Args:
        path: YAML file; paths in it are relative to the working directory.
        **instead: values for fields of `Study`, instead of the file's; None = the file's.

    Raises:
        ConfigurationError: the file is no study, or a setting is wrong.
    """
    values = _read(path)
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise ConfigurationError(
            f"{path}: unknown entry {unknown[0]!r}; known here: {', '.join(_KEYS)}"
        )
    values |= {name: value for name, value in instead.items() if value is not None}
    if not values.get("images"):
        raise ConfigurationError(f"{path}: expected the folder of the images (images:), got none")
    seeds = values.get("seeds", [0, 1, 2])
    _require(isinstance(seeds, list | tuple) and len(seeds) > 0, f"{path}: seeds", "a list", seeds)
    study = Study(
        Path(values["images"]),
        tuple(_rows(path, values)),
        _path(values.get("labelled")),
        _path(values.get("maps")),
        _path(values.get("object_masks")),
        values.get("per_class"),
        tuple(seeds),
        _settings(values.get("base") or {}),
    )
    names = [row.name for row in study.rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    _require(not twice, f"{path}: rows", "different names", twice[:1])
    for row in study.rows:
        study.config(row, study.seeds[0])
        study.published(row)
    return study


def read_settings(path: Path) -> dict[str, Any]:
    """Nested settings from a YAML file, such as ``research/configs/anomalyncd.yaml``."""
    return _read(path)


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both nested mappings, the second one's values over the first one's."""
    result = dict(first)
    for name, value in second.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


@contextmanager
def _named(row: Row) -> Iterator[None]:
    """Name the row in what is raised."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"row {row.name!r}: {error}") from error


def _rows(path: Path, values: Mapping[str, Any]) -> list[Row]:
    """Named rows, then every combination of the grid."""
    named, grid = values.get("rows") or {}, values.get("grid") or {}
    _require(isinstance(named, Mapping), f"{path}: rows", "settings by row name", named)
    _require(
        isinstance(grid, Mapping) and all(isinstance(v, list) for v in grid.values()),
        f"{path}: grid",
        "a list of values by setting",
        grid,
    )
    rows = []
    for name, entry in named.items():
        own = dict(_settings(entry or {}))
        method, features = own.pop("method", "discover"), own.pop("features", "unguided")
        rows.append(Row(str(name), own, method, features))
    for chosen in itertools.product(*grid.values()) if grid else ():
        pairs = list(zip(grid, chosen, strict=True))
        label = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in pairs)
        settings: dict[str, Any] = {}
        for name, value in pairs:
            settings = merged(settings, _nested(name, value))
        rows.append(Row(label, settings))
    _require(bool(rows), f"{path}", "rows: or grid:", "neither")
    return rows


def _settings(value: Any) -> Mapping[str, Any]:
    """Settings by name (dotted names too), or those of a file that is named."""
    if isinstance(value, str):
        return read_settings(Path(value))
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"expected settings by name, or a YAML file, got {value!r}")
    result: dict[str, Any] = {}
    for name, entry in value.items():
        result = merged(result, _nested(str(name), entry))
    return result


def _nested(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"{path}: expected a readable YAML file, got {reason}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected entries by name, got {values!r}")
    return values


def _path(value: Any) -> Path | None:
    return None if value is None else Path(value)


def _require(condition: bool, name: str, expected: Any, value: Any) -> None:
    if not condition:
        wanted = expected if isinstance(expected, str) else f"one of {', '.join(expected)}"
        raise ConfigurationError(f"{name}: expected {wanted}, got {value!r}")
