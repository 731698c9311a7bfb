"""ProtoAnomalyNCD: from the anomaly maps of any detector to named defect classes.

>>> from protoanomalyncd import ProtoAnomalyNCD
>>> model = ProtoAnomalyNCD(n_novel_classes=6)                               # doctest: +SKIP
>>> found = model.fit("DATA/mtd", labelled="DATA/neu").discovery_            # doctest: +SKIP
>>> found.report("report.html")                                              # doctest: +SKIP
"""

from importlib.metadata import version

from protoanomalyncd.config import Config
from protoanomalyncd.errors import ProtoAnomalyNCDError
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.structures import Discovery, ImageResult, Region, RegionResult, Sample

__version__ = version("protoanomalyncd")

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
]
