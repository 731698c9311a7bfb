"""ProtoAnomalyNCD: from the anomaly maps of any detector to named defect classes.

>>> from protoanomalyncd import ProtoAnomalyNCD
>>> model = ProtoAnomalyNCD(n_novel_classes=6)                               # doctest: +SKIP
>>> found = model.fit("DATA/mtd", labelled="DATA/neu").discovery_            # doctest: +SKIP
>>> model.report("report.html")                                               # doctest: +SKIP
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from protoanomalyncd.core import errors
from protoanomalyncd.core.version import VERSION

if TYPE_CHECKING:
    from protoanomalyncd.config import Config
    from protoanomalyncd.core.errors import ProtoAnomalyNCDError
    from protoanomalyncd.core.records import Discovery, ImageResult, Region, RegionResult, Sample
    from protoanomalyncd.estimator import ProtoAnomalyNCD

__version__ = VERSION
sys.modules[f"{__name__}.errors"] = errors
"""Where users import errors from; the ground floor is where they stand."""

__all__ = [
    "Config",
    "Discovery",
    "ImageResult",
    "ProtoAnomalyNCD",
    "ProtoAnomalyNCDError",
    "Region",
    "RegionResult",
    "Sample",
    "__version__",
    "errors",
]

_HOMES = {
    "Config": "config",
    "ProtoAnomalyNCD": "estimator",
    "ProtoAnomalyNCDError": "core.errors",
    "Discovery": "core.records",
    "ImageResult": "core.records",
    "Region": "core.records",
    "RegionResult": "core.records",
    "Sample": "core.records",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `protoanomalyncd --help` must not wait for it.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
