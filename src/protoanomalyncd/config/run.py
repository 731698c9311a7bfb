"""All settings of a run together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from protoanomalyncd.config.checks import check_types, require
from protoanomalyncd.config.count import CountConfig
from protoanomalyncd.config.data import CropConfig, MapConfig, MEBinConfig
from protoanomalyncd.config.localiser import LocaliserConfig
from protoanomalyncd.config.model import (
    EmbeddingConfig,
    GuidanceConfig,
    OutlierConfig,
    PrototypeConfig,
    TrainingConfig,
)
from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["Config"]


@dataclass(frozen=True)
class Config:
    """All stages together; saved with every run and every model.

    Args:
        n_novel_classes: classes of the unlabelled set, its normal class included; ``auto`` =
            estimated (`count`).
        classes: which classes results may name: ``novel`` (as published) or ``all``, the labelled
            ones too.
        seed: of every random choice.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    """

    n_novel_classes: int | Literal["auto"] = "auto"
    classes: Literal["novel", "all"] = "novel"
    seed: int = 0
    device: str = "cpu"
    detector: MapConfig = field(default_factory=MapConfig)
    localiser: LocaliserConfig = field(default_factory=LocaliserConfig)
    mebin: MEBinConfig = field(default_factory=MEBinConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    prototypes: PrototypeConfig = field(default_factory=PrototypeConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    outliers: OutlierConfig = field(default_factory=OutlierConfig)
    count: CountConfig = field(default_factory=CountConfig)

    def __post_init__(self) -> None:
        check_types(self, "")
        if self.n_novel_classes != "auto":
            require(
                self.n_novel_classes >= 2,
                "n_novel_classes",
                "at least 2, or auto",
                self.n_novel_classes,
            )
        require(self.classes in ("novel", "all"), "classes", "novel or all", self.classes)
        require(0 <= self.seed < 2**31, "seed", "0 to 2^31 - 1", self.seed)
        require(
            self.embedding.input_size <= self.crops.size,
            "embedding.input_size",
            f"at most crops.size ({self.crops.size})",
            self.embedding.input_size,
        )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionary, for YAML and JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Inverse of `to_dict`.

        Raises:
            ConfigurationError: a name is unknown or a value is out of its range.
        """
        built: Config = _build(cls, values, "")
        return built

    def hash(self) -> str:
        """First 16 hex digits of SHA-256 over the canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_PARTS: dict[str, type] = {
    "detector": MapConfig,
    "localiser": LocaliserConfig,
    "mebin": MEBinConfig,
    "crops": CropConfig,
    "embedding": EmbeddingConfig,
    "guidance": GuidanceConfig,
    "prototypes": PrototypeConfig,
    "training": TrainingConfig,
    "outliers": OutlierConfig,
    "count": CountConfig,
}


def _build(cls: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigurationError(
            f"{prefix.rstrip('.') or 'configuration'}: expected settings by name, got {values!r}"
        )
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known, key=str)
    if unknown:
        raise ConfigurationError(
            f"unknown setting {prefix}{unknown[0]}; known here: {', '.join(sorted(known))}"
        )
    built = {
        name: _build(_PARTS[name], value, f"{prefix}{name}.") if name in _PARTS else value
        for name, value in values.items()
    }
    return cls(**built)
