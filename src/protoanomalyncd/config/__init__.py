"""Every setting of the method: one frozen, validated dataclass a stage.

A stage takes its own dataclass only; nothing takes the whole `Config` but the estimator, which
hands the parts out. ``docs/defaults.md`` says which data set chose each default.

    >>> Config(n_novel_classes=6, seed=1).training.epochs >= 1
    True
"""

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
from protoanomalyncd.config.run import Config

__all__ = [
    "Config",
    "CountConfig",
    "CropConfig",
    "EmbeddingConfig",
    "GuidanceConfig",
    "LocaliserConfig",
    "MEBinConfig",
    "MapConfig",
    "OutlierConfig",
    "PrototypeConfig",
    "TrainingConfig",
]
