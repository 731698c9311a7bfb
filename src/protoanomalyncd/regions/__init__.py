"""Second room: from an anomaly map to crops.

A map is normalised on the range of its data set (`fit_range`), its anomalies are cut out at the
map's own stable threshold (`binarise`), boxed (`propose_regions`), cut out of image, mask and map
together (`cut`), and measured, for what a crop loses (`describe`).

Source: AnomalyNCD (Huang et al., CVPR 2025), MEBin and anomaly-centred crops, without its known
defects (step for step: ``research/published/``); descriptors are ours.

Example::

    map_range = fit_range(maxima, normal_maxima)
    found = binarise(amap, map_range, MEBinConfig())
    regions = propose_regions(
        name, found.mask, map_range.normalise(amap), image.shape[:2], CropConfig()
    )
    crop = cut(image, found.mask, map_range.normalise(amap), regions[0], CropConfig())
"""

from protoanomalyncd.regions.crops import Crop, cut
from protoanomalyncd.regions.descriptors import DESCRIPTORS, describe, phrase
from protoanomalyncd.regions.guiding import anomaly_values, centre_window, guide_values
from protoanomalyncd.regions.map_range import background_level, fit_range
from protoanomalyncd.regions.mebin import Binarisation, binarise
from protoanomalyncd.regions.proposals import propose_regions

__all__ = [
    "DESCRIPTORS",
    "Binarisation",
    "Crop",
    "anomaly_values",
    "background_level",
    "binarise",
    "centre_window",
    "cut",
    "describe",
    "fit_range",
    "guide_values",
    "phrase",
    "propose_regions",
]
