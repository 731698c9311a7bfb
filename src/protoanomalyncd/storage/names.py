"""Names of the files that a run and a model consist of."""

from __future__ import annotations

from typing import Final

__all__ = [
    "CONFIG_YAML",
    "COUNT",
    "FORMAT_VERSION",
    "METRICS",
    "MODEL_CONFIG",
    "MODEL_DETECTOR",
    "MODEL_FOLDER",
    "MODEL_WEIGHTS",
    "PREDICTIONS",
    "REGIONS",
    "REPORT",
    "RUN_LOG",
]

FORMAT_VERSION: Final = 3
"""Version of the model folder; raised when an older reader could not understand it."""

PREDICTIONS: Final = "predictions.csv"
REGIONS: Final = "regions.csv"
METRICS: Final = "metrics.json"
COUNT: Final = "count.json"
REPORT: Final = "report.html"
CONFIG_YAML: Final = "config.yaml"
RUN_LOG: Final = "run.log"

MODEL_FOLDER: Final = "model"
MODEL_CONFIG: Final = "model.json"
MODEL_WEIGHTS: Final = "model.safetensors"
MODEL_DETECTOR: Final = "detector.safetensors"
