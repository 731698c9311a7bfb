"""Classes in a few plain words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from protoanomalyncd.core.records import Discovery
from protoanomalyncd.regions.descriptors import phrase

__all__ = ["describe_classes"]


def describe_classes(discovery: Discovery) -> dict[int, str]:
    """A few plain words for each class, from the median descriptors of its regions."""
    values: dict[int, list[Mapping[str, float]]] = defaultdict(list)
    for result in discovery.regions:
        if result.descriptors and not result.region.whole_image:
            values[result.class_id].append(result.descriptors)
    return {
        class_id: phrase({name: float(np.median([d[name] for d in all_of])) for name in all_of[0]})
        for class_id, all_of in values.items()
        if class_id != discovery.normal_class
    }
