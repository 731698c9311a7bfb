"""Unseen outliers: how strange a region is, and from where on it has no name.

One convention for every score: larger = more outlying; what lies above the threshold is rejected,
class -1. A score is fitted on the fitted regions, its threshold calibrated on the same regions as
if they had never been seen. Sources: CIDER and ProtoGCD for the standard scores; the cache and the
calibration are ours, and say so in their files.

    >>> score = create_outlier_score("key_value_cache")
    >>> score.arguments()
    {'sharpness': 1.0, 'blend': 0.5, 'nearest': 5, 'frozen': False}
"""

from protoanomalyncd.discovery.outliers.base import OutlierScore, RegionFeatures
from protoanomalyncd.discovery.outliers.calibrate import (
    cross_fitted_scores,
    image_numbers,
    image_scores,
    threshold_at,
)
from protoanomalyncd.discovery.outliers.key_value_cache import KeyValueCache
from protoanomalyncd.discovery.outliers.mahalanobis import Mahalanobis
from protoanomalyncd.discovery.outliers.neighbour import LocalDensity, Neighbour
from protoanomalyncd.discovery.outliers.prototypes import Cosine, Energy, Margin, Probability
from protoanomalyncd.discovery.outliers.registry import (
    SCORES,
    create_outlier_score,
    register,
    registered,
)
from protoanomalyncd.discovery.outliers.von_mises_fisher import VonMisesFisher

__all__ = [
    "SCORES",
    "Cosine",
    "Energy",
    "KeyValueCache",
    "LocalDensity",
    "Mahalanobis",
    "Margin",
    "Neighbour",
    "OutlierScore",
    "Probability",
    "RegionFeatures",
    "VonMisesFisher",
    "create_outlier_score",
    "cross_fitted_scores",
    "image_numbers",
    "image_scores",
    "register",
    "registered",
    "threshold_at",
]
