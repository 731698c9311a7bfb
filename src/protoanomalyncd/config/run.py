"""All settings of a run together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from protoanomalyncd.config.count import CountConfig
from protoanomalyncd.config.data import CropConfig, MEBinConfig
from protoanomalyncd.config.model import EmbeddingConfig, PrototypeConfig, TrainingConfig
from protoanomalyncd.config.outliers import OutlierConfig
from protoanomalyncd.core.checks import Range, check_types, require
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.registry import Component

__all__ = ["Config"]

AUTO, NONE = Component("auto"), Component("none")


@dataclass(frozen=True)
class Config:
    """All stages together; saved with every run and every model.

    Where a `Component` stands, a name or a mapping (its ``name`` and options beside it) will do.

    Args:
        n_novel_classes: classes of the unlabelled set, its normal class included; ``auto`` =
            estimated (`count`).
        classes: which classes results may name: ``novel`` (as published) or ``all``, the labelled
            ones too.
        seed: of every random choice, 0 to 2^31 - 1.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        detector: an `AnomalyMapSource` and its options; ``auto`` = ``patch_memory`` where there are
            normal images, else ``mutual_scoring``.
        localiser: an `ObjectLocaliser` and its options; ``none`` = everything is object.
        mask_outside_object: outside the object the anomaly map counts as normal, before anything
            else is done with it.
    """

    n_novel_classes: Annotated[int, Range(2)] | Literal["auto"] = "auto"
    classes: Literal["novel", "all"] = "novel"
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    device: str = "cpu"
    detector: Component = AUTO
    localiser: Component = NONE
    mask_outside_object: bool = False
    mebin: MEBinConfig = field(default_factory=MEBinConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    prototypes: PrototypeConfig = field(default_factory=PrototypeConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    outliers: OutlierConfig = field(default_factory=OutlierConfig)
    count: CountConfig = field(default_factory=CountConfig)

    def __post_init__(self) -> None:
        check_types(self, "")
        require(
            self.embedding.input_size <= self.crops.size,
            "embedding.input_size",
            f"at most crops.size ({self.crops.size})",
            self.embedding.input_size,
        )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionary, for YAML and JSON."""
        values: dict[str, Any] = _plain(self)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Inverse of `to_dict`; what is missing has its default.

        Raises:
            ConfigurationError: a name is unknown or a value is out of its range.
        """
        built: Config = _build(cls, values, "")
        return built

    def hash(self) -> str:
        """First 16 hex digits of SHA-256 over the canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _build(cls: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigurationError(
            f"{prefix.rstrip('.') or 'configuration'}: expected settings by name, got {values!r}"
        )
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(known), key=str)
    if unknown:
        raise ConfigurationError(
            f"unknown setting {prefix}{unknown[0]}; known here: {', '.join(sorted(known))}"
        )
    built = dict(values)
    for name, value in values.items():
        kind = hints[name]
        if kind is Component and isinstance(value, Mapping):
            built[name] = {"name": known[name].default.name, **value}
        elif dataclasses.is_dataclass(kind) and kind is not Component:
            built[name] = _build(kind, value, f"{prefix}{name}.")
    return cls(**built)
