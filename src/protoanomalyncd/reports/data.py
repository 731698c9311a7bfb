"""What a report is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from protoanomalyncd.core.records import Discovery, FloatArray, ImageArray, MaskArray
from protoanomalyncd.discovery.metrics import ClusterMetrics

__all__ = ["ReportData"]


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows; nothing is computed by the method any more.

    The loaders are called with `Sample.name`, once an image at most, and only for images
    that are shown. A loader that fails (the file has been moved, say) costs that image its
    picture and nothing else.

    Args:
        discovery: images and regions with their classes.
        title: heading of the page.
        load_image: name -> RGB image, ``uint8 (H, W, 3)``.
        load_map: name -> normalised anomaly map in [0, 1], ``float32 (h, w)``, any resolution.
        load_mask: name -> binarised map, ``bool (h, w)``, any resolution.
        load_object: name -> object mask, ``bool (h, w)``, any resolution, None where everything is
            object; None = no object was looked for.
        metrics: comparison with the truth; None = no truth is known.
        settings: flat name -> value for "how this was made".
        descriptions: class id -> a few plain words.
        kinds_given: True where the user gave the number of classes, False where it was estimated,
            None where the page shall not say.
    """

    discovery: Discovery
    title: str
    load_image: Callable[[str], ImageArray]
    load_map: Callable[[str], FloatArray]
    load_mask: Callable[[str], MaskArray]
    metrics: ClusterMetrics | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    descriptions: Mapping[int, str] = field(default_factory=dict)
    kinds_given: bool | None = None
    load_object: Callable[[str], MaskArray | None] | None = None
