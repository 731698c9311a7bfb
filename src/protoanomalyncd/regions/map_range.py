"""The range of a data set's anomaly maps, fitted once and stored with the model.

Source: AnomalyNCD's `_MEBin.py` takes the smallest and the largest image maximum. That presumes
normal images in the set: without them the lower end is too high and weak defects vanish (its
authors confirm it, and advise 0 or a quantile of normal scores). The rest is ours.
"""

from __future__ import annotations

import numpy as np

from protoanomalyncd.config import MEBinConfig
from protoanomalyncd.core.errors import AnomalyMapError
from protoanomalyncd.core.records import FloatArray, MapRange

__all__ = ["background_level", "fit_range"]

BACKGROUND_QUANTILE = 0.1


def background_level(amap: FloatArray) -> float:
    """Score of normal pixels in a map that holds a defect: its lower decile [map units].

    The median of it over a set without normal images is a good `background` for `fit_range`.

    Args:
        amap: raw scores, (h, w), finite.
    """
    return float(np.quantile(amap, BACKGROUND_QUANTILE))


def fit_range(
    maxima: FloatArray,
    normal_maxima: FloatArray | None = None,
    config: MEBinConfig | None = None,
    background: float | None = None,
) -> MapRange:
    """Range on which maps are normalised and swept.

    ``high`` is the largest maximum. ``low`` is, in this order,

    1. `background`, where the caller knows that the set holds no normal images;
    2. the `normal_quantile` of `normal_maxima`, where given;
    3. the `set_quantile` of the maxima: the least conspicuous images of a set that holds normal
       ones are normal. AnomalyNCD takes the smallest maximum: a quantile of 0.

    Args:
        maxima: largest score of each image of the set, (n,) [map units].
        normal_maxima: the same of held-out normal images, which the detector has not seen,
            (m,) [map units]; None or empty where there are none.
        config: quantiles; None = the defaults.
        background: score of normal pixels [map units], for sets without a normal image: the median
            of their `background_level`, or 0 for detectors whose maps start there.

    Raises:
        AnomalyMapError: no maps, scores that are not finite, or nothing above the lower end.
    """
    config = config or MEBinConfig()
    seen = _finite(maxima, "image maxima")
    if seen.size == 0:
        raise AnomalyMapError("expected at least one anomaly map to fit a range on, got none")
    normal = _finite(normal_maxima if normal_maxima is not None else (), "normal maxima")
    high = float(seen.max())
    if background is not None:
        low, what = float(background), "the background given"
    elif normal.size:
        low, what = float(np.quantile(normal, config.normal_quantile)), "the normal images' maxima"
    else:
        low, what = float(np.quantile(seen, config.set_quantile)), "the set's lower maxima"
    if not high > low:
        raise AnomalyMapError(
            f"expected maps that reach above {what} ({low:.6g}), but the highest score of the set "
            f"is {high:.6g}: no image stands out; if the set holds no normal image, set "
            "mebin.normals_in_set to false"
        )
    return MapRange(low, high)


def _finite(values: object, what: str) -> FloatArray:
    array = np.asarray(values, np.float32).ravel()
    if not np.isfinite(array).all():
        raise AnomalyMapError(f"expected finite {what}, got NaN or infinity")
    return array
