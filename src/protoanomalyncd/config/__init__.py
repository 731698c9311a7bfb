"""Every setting of the method: one frozen, validated dataclass a stage.

A stage takes its own dataclass only; nothing takes the whole `Config` but pipeline, estimator and
command line, which hand the parts out. A component (detector, localiser, outlier score) has its
options in its own constructor, and is named here by a `Component`. ``docs/defaults.md`` says which
data set chose each default.

    >>> Config(n_novel_classes=6, seed=1).training.epochs >= 1
    True
    >>> Config.from_dict({"detector": {"name": "patch_memory", "smoothing": 0}}).detector
    Component(name='patch_memory', options={'smoothing': 0})
"""

from protoanomalyncd.config.count import CountConfig
from protoanomalyncd.config.data import CropConfig, MEBinConfig
from protoanomalyncd.config.model import (
    EmbeddingConfig,
    GuidanceConfig,
    PrototypeConfig,
    TrainingConfig,
)
from protoanomalyncd.config.outliers import OutlierConfig
from protoanomalyncd.config.run import Config
from protoanomalyncd.core.registry import Component

__all__ = [
    "Component",
    "Config",
    "CountConfig",
    "CropConfig",
    "EmbeddingConfig",
    "GuidanceConfig",
    "MEBinConfig",
    "OutlierConfig",
    "PrototypeConfig",
    "TrainingConfig",
]
