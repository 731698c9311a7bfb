"""Every setting of the method: one frozen, validated dataclass a stage.

A stage takes its own dataclass only; nothing takes the whole `Config` but the estimator, which
hands the parts out. ``docs/defaults.md`` says which data set chose each default.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from protoanomalyncd.errors import ConfigurationError

__all__ = [
    "Config",
    "CropConfig",
    "EmbeddingConfig",
    "GuidanceConfig",
    "MEBinConfig",
    "MapConfig",
    "OutlierConfig",
    "PrototypeConfig",
    "TrainingConfig",
]


def _require(condition: bool, name: str, expected: str, value: object) -> None:
    if not condition:
        raise ConfigurationError(f"{name}: expected {expected}, got {value!r}")


def _check_types(part: Any, prefix: str) -> None:
    """Bring numbers to the declared type; refuse what is of another one."""
    hints = typing.get_type_hints(type(part))
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        value = _typed(value, hints[item.name], f"{prefix}{item.name}")
        object.__setattr__(part, item.name, value)


def _typed(value: Any, kind: Any, name: str) -> Any:
    """The value as `kind`; a whole number may stand for a float, nothing else is converted."""
    if isinstance(kind, types.UnionType):  # X | None
        return None if value is None else _typed(value, typing.get_args(kind)[0], name)
    if kind is float:
        _require(isinstance(value, numbers.Real) and not isinstance(value, bool), name, "a number", value)
        _require(math.isfinite(value), name, "a finite number", value)
        return float(value)
    if kind is int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        _require(whole, name, "a whole number", value)
        return int(value)
    if kind in (str, bool):
        _require(isinstance(value, kind), name, "text" if kind is str else "true or false", value)
    elif dataclasses.is_dataclass(kind):
        _require(isinstance(value, typing.cast(type, kind)), name, "settings by name", value)
    return value


@dataclass(frozen=True)
class MapConfig:
    """Where anomaly maps come from.

    Args:
        source: registered name of an `AnomalyMapSource`; ``patch_memory`` is fitted on the normal
            images, ``folder`` reads the maps of any detector.
        image_size: side to which the built-in detector resizes images [px].
        memory_size: number of normal patches that the memory keeps, drawn at random.
    """

    source: str = "patch_memory"
    image_size: int = 256
    memory_size: int = 12_000

    def __post_init__(self) -> None:
        _check_types(self, "detector.")
        _require(self.image_size >= 32, "detector.image_size", "at least 32", self.image_size)
        _require(self.memory_size >= 1, "detector.memory_size", "at least 1", self.memory_size)


@dataclass(frozen=True)
class MEBinConfig:
    """Main element binarisation.

    Args:
        mode: ``default`` (float maps, thin defects kept) or ``reference`` (AnomalyNCD's 8-bit
            procedure, step for step).
        resolution: side of the square to which a map is resized before the sweep [px]; None = the
            mode's own: 256 in ``reference``, three times the map's longer
            side, as far as that is at most 512, in ``default``.
        step: distance of two thresholds [1/255 of the range].
        min_run: thresholds in a row with the same count that make it stable; None = the mode's
            own: 4 in ``reference``, 2 in ``default``.
        run_position: where in the stable run the threshold is taken, 0 = its highest, 1 = its lowest
            threshold; ``default`` mode only, ``reference`` takes the lowest.
        erosion: side of the erosion kernel [px at `resolution`]; 0 = none; None = the mode's own: 6
            in ``reference``, none in ``default``.
        min_area: smaller components do not count and leave the mask; ``default`` mode only
            [pixels of the map as it came].
        normal_quantile: share of the held-out normal images whose maximum lies below the range;
            ``default`` mode only.
        normals_in_set: whether the unlabelled set holds normal images; asked only where no held-out
            normal image is known (maps from a folder). False: the range starts at the typical
            background instead of the lowest image maximum.
    """

    mode: Literal["default", "reference"] = "default"
    resolution: int | None = None
    step: int = 4
    min_run: int | None = None
    run_position: float = 0.5
    erosion: int | None = None
    min_area: float = 1.0
    normal_quantile: float = 0.9
    normals_in_set: bool = True

    def __post_init__(self) -> None:
        _check_types(self, "mebin.")
        _require(self.mode in ("default", "reference"), "mebin.mode", "default or reference", self.mode)
        _require(
            self.resolution is None or 32 <= self.resolution <= 4096,
            "mebin.resolution",
            "32 to 4096 or null",
            self.resolution,
        )
        _require(1 <= self.step <= 64, "mebin.step", "1 to 64", self.step)
        _require(self.min_run is None or self.min_run >= 1, "mebin.min_run", "at least 1 or null", self.min_run)
        _require(0 <= self.run_position <= 1, "mebin.run_position", "in [0, 1]", self.run_position)
        _require(self.erosion is None or self.erosion >= 0, "mebin.erosion", "at least 0 or null", self.erosion)
        _require(self.min_area >= 0, "mebin.min_area", "at least 0", self.min_area)
        _require(0 < self.normal_quantile <= 1, "mebin.normal_quantile", "in (0, 1]", self.normal_quantile)


@dataclass(frozen=True)
class CropConfig:
    """Anomaly-centred crops.

    Args:
        mode: ``default`` (crops stay inside the image or are padded by reflection; a whole image is
            squashed to a square) or ``reference`` (AnomalyNCD: black padding, extra box).
        margin: half side of a crop as a share of the longer side of its box.
        min_half_side: smallest half side, as a share of the image's longer side.
        max_half_side: largest half side, as a share of the image's longer side.
        merge_distance: crops nearer than this share of the image's longer side become one.
        max_regions: most regions kept in an image, the most anomalous first.
        overhang: where a crop is longer than the image's shorter side: ``squash`` the rectangle
            that fits to a square, or fill the square up by ``reflect``; ``default`` mode only.
        size: side of the stored crop [px].
    """

    mode: Literal["default", "reference"] = "default"
    margin: float = 0.55
    min_half_side: float = 0.1
    max_half_side: float = 0.5
    merge_distance: float = 0.01
    max_regions: int = 8
    overhang: Literal["squash", "reflect"] = "squash"
    size: int = 256

    def __post_init__(self) -> None:
        _check_types(self, "crops.")
        _require(self.mode in ("default", "reference"), "crops.mode", "default or reference", self.mode)
        _require(self.margin > 0, "crops.margin", "above 0", self.margin)
        _require(
            0 < self.min_half_side <= self.max_half_side,
            "crops.min_half_side",
            "above 0 and at most crops.max_half_side",
            self.min_half_side,
        )
        _require(self.merge_distance >= 0, "crops.merge_distance", "at least 0", self.merge_distance)
        _require(self.max_regions >= 1, "crops.max_regions", "at least 1", self.max_regions)
        _require(self.overhang in ("squash", "reflect"), "crops.overhang", "squash or reflect", self.overhang)
        _require(self.size >= 32, "crops.size", "at least 32", self.size)


@dataclass(frozen=True)
class GuidanceConfig:
    """How the anomaly map guides the class token (Region Guidance Factor).

    Args:
        mode: ``soft`` (M = beta g), ``hard`` (AnomalyNCD: -1e9 where the pooled mask < 0.5) or
            ``none``.
        beta: strength; the attention logit of a fully anomalous patch.
        object_factor: g of a normal patch on the object (rho_o).
        background_factor: g of a background patch (rho_b), below `object_factor`.
        share_of_blocks: last share of the blocks in which the class token is guided, in (0, 1].
        hide_class_key: patch queries do not see the class token, so that one set of patch tokens
            serves every guidance; None = as the backbone was trained.
    """

    mode: Literal["soft", "hard", "none"] = "soft"
    beta: float = 4.0
    object_factor: float = 0.0
    background_factor: float = -1.0
    share_of_blocks: float = 1.0
    hide_class_key: bool | None = None

    def __post_init__(self) -> None:
        _check_types(self, "guidance.")
        _require(self.mode in ("soft", "hard", "none"), "guidance.mode", "soft, hard or none", self.mode)
        _require(self.beta > 0, "guidance.beta", "above 0", self.beta)
        _require(
            self.background_factor <= self.object_factor < 1,
            "guidance.object_factor",
            "below 1 and at least guidance.background_factor",
            self.object_factor,
        )
        _require(0 < self.share_of_blocks <= 1, "guidance.share_of_blocks", "in (0, 1]", self.share_of_blocks)


@dataclass(frozen=True)
class EmbeddingConfig:
    """Crop -> embedding.

    Args:
        backbone: ``embedded``, ``local-dir:FOLDER`` or the name of a timm model on the hub (which
            downloads it).
        input_size: side of the window that the network sees [px].
        guidance: how the anomaly map guides the class token.
    """

    backbone: str = "embedded"
    input_size: int = 224
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)

    def __post_init__(self) -> None:
        _check_types(self, "embedding.")
        _require(bool(self.backbone), "embedding.backbone", "a name", self.backbone)
        _require(self.input_size >= 32, "embedding.input_size", "at least 32", self.input_size)


@dataclass(frozen=True)
class PrototypeConfig:
    """The objective of prototype learning (METHOD: DAPL, entropy, separation, contrastive).

    Args:
        temperature: tau of the posterior softmax(cos / tau); kappa = 1 / tau.
        target_temperature: tau of the soft pseudo-labels.
        supervised_weight: lambda, the share of the labelled terms.
        entropy_weight: w_e of the mean-entropy regulariser.
        separation_weight: w_s of the prototype-separation regulariser.
        contrastive_temperature: tau of InfoNCE.
        supcon_temperature: tau of the supervised contrastive loss.
        projection_dim: width of the contrastive projection.
    """

    temperature: float = 0.1
    target_temperature: float = 0.05
    supervised_weight: float = 0.35
    entropy_weight: float = 2.0
    separation_weight: float = 0.1
    contrastive_temperature: float = 1.0
    supcon_temperature: float = 0.07
    projection_dim: int = 256

    def __post_init__(self) -> None:
        _check_types(self, "prototypes.")
        for name in ("temperature", "target_temperature", "contrastive_temperature", "supcon_temperature"):
            _require(getattr(self, name) > 0, f"prototypes.{name}", "above 0", getattr(self, name))
        _require(
            0 <= self.supervised_weight <= 1, "prototypes.supervised_weight", "in [0, 1]", self.supervised_weight
        )
        for name in ("entropy_weight", "separation_weight"):
            _require(getattr(self, name) >= 0, f"prototypes.{name}", "at least 0", getattr(self, name))
        _require(self.projection_dim >= 1, "prototypes.projection_dim", "at least 1", self.projection_dim)


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop.

    Args:
        epochs: passes over the unlabelled crops.
        views: augmented views of each crop whose frozen tokens are computed once; every step draws
            two of them.
        batch_size: crops in a step.
        learning_rate: start of the cosine schedule, which ends at a thousandth of it.
        momentum: of SGD.
        weight_decay: of SGD.
        labelled_per_class: labelled crops used of each known class, drawn at random.
        checkpoint_every: epochs between two checkpoints.
    """

    epochs: int = 30
    views: int = 4
    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-5
    labelled_per_class: int = 100
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        _check_types(self, "training.")
        _require(self.epochs >= 1, "training.epochs", "at least 1", self.epochs)
        _require(self.views >= 2, "training.views", "at least 2", self.views)
        _require(self.batch_size >= 2, "training.batch_size", "at least 2", self.batch_size)
        _require(self.learning_rate > 0, "training.learning_rate", "above 0", self.learning_rate)
        _require(0 <= self.momentum < 1, "training.momentum", "in [0, 1)", self.momentum)
        _require(self.weight_decay >= 0, "training.weight_decay", "at least 0", self.weight_decay)
        _require(self.labelled_per_class >= 2, "training.labelled_per_class", "at least 2", self.labelled_per_class)
        _require(self.checkpoint_every >= 1, "training.checkpoint_every", "at least 1", self.checkpoint_every)


@dataclass(frozen=True)
class OutlierConfig:
    """When a region is too strange to name.

    Args:
        score: registered name of an `OutlierScore`.
        false_rejection_rate: share of the fitted regions that may be rejected, in [0, 1);
            0 = reject nothing.
    """

    score: str = "cosine"
    false_rejection_rate: float = 0.0

    def __post_init__(self) -> None:
        _check_types(self, "outliers.")
        _require(
            0 <= self.false_rejection_rate < 1,
            "outliers.false_rejection_rate",
            "in [0, 1)",
            self.false_rejection_rate,
        )


@dataclass(frozen=True)
class Config:
    """All stages together; saved with every run and every model.

    Args:
        n_novel_classes: classes of the unlabelled set, its normal class included.
        seed: of every random choice.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    """

    n_novel_classes: int = 6
    seed: int = 0
    device: str = "cpu"
    detector: MapConfig = field(default_factory=MapConfig)
    mebin: MEBinConfig = field(default_factory=MEBinConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    prototypes: PrototypeConfig = field(default_factory=PrototypeConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    outliers: OutlierConfig = field(default_factory=OutlierConfig)

    def __post_init__(self) -> None:
        _check_types(self, "")
        _require(self.n_novel_classes >= 2, "n_novel_classes", "at least 2", self.n_novel_classes)
        _require(0 <= self.seed < 2**31, "seed", "0 to 2^31 - 1", self.seed)
        _require(
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
        return _build(cls, values, "")

    def hash(self) -> str:
        """First 16 hex digits of SHA-256 over the canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_PARTS: dict[str, type] = {
    "detector": MapConfig,
    "mebin": MEBinConfig,
    "crops": CropConfig,
    "embedding": EmbeddingConfig,
    "guidance": GuidanceConfig,
    "prototypes": PrototypeConfig,
    "training": TrainingConfig,
    "outliers": OutlierConfig,
}


def _build(cls: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{prefix.rstrip('.') or 'configuration'}: expected settings by name, got {values!r}")
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known, key=str)
    if unknown:
        raise ConfigurationError(f"unknown setting {prefix}{unknown[0]}; known here: {', '.join(sorted(known))}")
    built = {
        name: _build(_PARTS[name], value, f"{prefix}{name}.") if name in _PARTS else value
        for name, value in values.items()
    }
    return cls(**built)
