"""First room: image -> anomaly map.

Any detector will do; the rest of the house only sees raw float maps, larger = more anomalous.
Built in are `PatchMemory` (after PatchCore, Roth et al., CVPR 2022; the random memory and its
calibration are ours), `MutualScoring` (after MuSc, Li et al., ICLR 2024; without normal images) and
`FolderMaps` (the maps of any other detector). The range of a data set's maps is fitted once, from
these raw scores, and saved with the model; no map is normalised alone.

    >>> source = create("patch_memory", backbone=create_backbone("embedded"))  # doctest: +SKIP
    >>> report = source.fit(normal_samples)                                    # doctest: +SKIP
    >>> for sample, scores in source.score(samples):                           # doctest: +SKIP
    ...     ...

Another detector: implement `AnomalyMapSource` and `register` it (docs/how_to/anomaly_maps.md).
"""

from protoanomalyncd.anomaly_maps.base import AnomalyMapSource, FitReport, Progress
from protoanomalyncd.anomaly_maps.folder import FolderMaps
from protoanomalyncd.anomaly_maps.mutual_scoring import MutualScoring
from protoanomalyncd.anomaly_maps.patch_memory import PatchMemory
from protoanomalyncd.anomaly_maps.registry import (
    AUTO,
    DETECTORS,
    check_detector,
    choose,
    create,
    register,
    registered,
)

__all__ = [
    "AUTO",
    "DETECTORS",
    "AnomalyMapSource",
    "FitReport",
    "FolderMaps",
    "MutualScoring",
    "PatchMemory",
    "Progress",
    "check_detector",
    "choose",
    "create",
    "register",
    "registered",
]
