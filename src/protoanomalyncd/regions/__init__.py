"""Second room: from an anomaly map to crops.

A map is normalised on the range of its data set (`fit_range`), its anomalies are cut out at the
map's own stable threshold (`binarise`), boxed (`propose_regions`), cut out of image, mask and map
together (`cut`), and measured, for what a crop loses (`describe`).

Source: AnomalyNCD (Huang et al., CVPR 2025), MEBin and anomaly-centred crops. ``reference`` modes
follow it exactly; the ``default`` modes leave out its known defects, and descriptors are ours.

Example::

    map_range = fit_range(maxima, normal_maxima)
    found = binarise(amap, map_range, MEBinConfig())
    regions = propose_regions(
        name, found.mask, map_range.normalise(amap), image.shape[:2], CropConfig(),
        n_components=found.n_components,
    )
    crop = cut(image, found.mask, map_range.normalise(amap), regions[0], CropConfig())
"""

from protoanomalyncd.regions.crops import Crop, cut
from protoanomalyncd.regions.descriptors import DESCRIPTORS, describe, phrase
from protoanomalyncd.regions.map_range import background_level, fit_range
from protoanomalyncd.regions.mebin import Binarisation, binarise, to_eight_bit
from protoanomalyncd.regions.proposals import propose_regions

__all__ = [
    "DESCRIPTORS",
    "Binarisation",
    "Crop",
    "background_level",
    "binarise",
    "cut",
    "describe",
    "fit_range",
    "phrase",
    "propose_regions",
    "to_eight_bit",
]
