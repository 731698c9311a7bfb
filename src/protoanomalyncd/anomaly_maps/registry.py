"""Sources of anomaly maps by name."""

from __future__ import annotations

from protoanomalyncd.anomaly_maps.base import AnomalyMapSource
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.registry import Registry

__all__ = ["AUTO", "SOURCES", "choose", "create", "register", "registered"]

AUTO = "auto"
"""Setting that leaves the choice of the source to `choose`."""

SOURCES: Registry[AnomalyMapSource] = Registry("detector.source", also=(AUTO,))
register, registered, create = SOURCES.register, SOURCES.names, SOURCES.create


def choose(source: str, *, has_normal: bool, has_maps: bool) -> str:
    """Name of the source for a data set.

    Args:
        source: a registered name, or `AUTO`: the patch memory where there are normal images to
            learn from, else mutual scoring.
        has_normal: normal images are known (train/good).
        has_maps: a folder of maps is given; it is always used.

    Raises:
        ConfigurationError: maps are to be read, and no folder is given.
    """
    if has_maps:
        return "folder"
    if source == "folder":
        raise ConfigurationError(
            "detector.source is 'folder': expected a folder of anomaly maps (--maps), got none"
        )
    if source != AUTO:
        return source
    return "patch_memory" if has_normal else "mutual_scoring"
