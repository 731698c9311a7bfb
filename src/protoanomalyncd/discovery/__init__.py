"""Fifth room: classes of regions and images.

Assignment, merging of regions into images, rejection of outliers, and the metrics of the protocol.
Source: AnomalyNCD for the merging and the protocol; the rest is named in its file.
"""

from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.metrics import ClusterMetrics, evaluate

__all__ = ["ClusterMetrics", "RegionClassifier", "evaluate"]
