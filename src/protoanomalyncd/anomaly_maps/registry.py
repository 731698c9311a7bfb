"""Sources of anomaly maps by name."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.anomaly_maps.base import AnomalyMapSource
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.registry import Component, Registry

__all__ = ["AUTO", "DETECTORS", "check_detector", "choose", "create", "register", "registered"]

AUTO = "auto"
"""Name that leaves the choice of the source to `choose`."""

DETECTORS: Registry[AnomalyMapSource] = Registry(
    "detector", "protoanomalyncd.detectors", AnomalyMapSource, also=(AUTO,)
)
register, registered, create = DETECTORS.register, DETECTORS.names, DETECTORS.create


def check_detector(detector: Component, maps: str | Path | None = None) -> None:
    """Refuse early what no data can make right; options of `AUTO` are checked by `choose`.

    Args:
        detector: as it is configured.
        maps: folder of anomaly maps; None = none is given.

    Raises:
        ConfigurationError: the detector is unknown or lacks an option; maps stand beside another
            detector; or they are to be read, and no folder is given.
    """
    if maps is not None and detector.name not in (AUTO, "folder"):
        raise ConfigurationError(
            f"detector: expected no folder of anomaly maps (--maps) beside {detector.name}, got "
            f"{maps}; leave out one of them"
        )
    if detector.name != AUTO:
        DETECTORS.check(detector)
    if maps is None and detector.name == "folder":
        raise ConfigurationError(
            "detector: folder needs a folder of anomaly maps (--maps), got none"
        )


def choose(detector: Component, maps: str | Path | None, has_normal: bool) -> Component:
    """The detector for a data set.

    Args:
        detector: as it is configured; `AUTO`: given maps, else the patch memory where there are
            normal images to learn from, else mutual scoring.
        maps: folder of anomaly maps; None = none is given.
        has_normal: normal images are known (train/good).

    Raises:
        ConfigurationError: see `check_detector`; or the chosen detector lacks an option.
    """
    check_detector(detector, maps)
    if detector.name != AUTO:
        return detector
    built_in = "patch_memory" if has_normal else "mutual_scoring"
    chosen = Component(built_in if maps is None else "folder", detector.options)
    DETECTORS.check(chosen)
    return chosen
