"""Fifth room: classes of regions and images, and what people call them.

Assignment, merging of regions into images, rejection of outliers, the catalogue, and the metrics
of the protocol. Source: AnomalyNCD for the merging and the protocol; the rest is named in its file.

    >>> catalogue = Catalogue(["normal", "defect 1", "defect 2"])
    >>> catalogue.rename(1, "scratch")
    >>> catalogue.names
    ('normal', 'scratch', 'defect 2')
"""

from protoanomalyncd.discovery.catalogue import Catalogue
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.metrics import ClusterMetrics, evaluate

__all__ = ["Catalogue", "ClusterMetrics", "RegionClassifier", "evaluate"]
