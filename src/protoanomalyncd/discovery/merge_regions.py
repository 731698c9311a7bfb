"""From the regions of an image to the image: a mean weighted by the size of the defect.

::

    p(k | image) = sum_r w_r p(k | r),   w = softmax over the image's regions of sqrt(area_r) / T

Source: [ref] HUST-SLOW/AnomalyNCD, ``models/AnomalyNCD.py`` (``region_merge_predict``), where an
area is the number of foreground pixels in the crop's mask at the original resolution and T is 100
on MVTec AD and 50 elsewhere. The same defect photographed at twice the resolution thus gets
other weights there.

*Ours*: an area is a share of the image, in [0, 1], and T is `SHARE_TEMPERATURE` = 0.1. Because
``sqrt(pixels) / T = sqrt(share) / (T / sqrt(H W))``, that is exactly the reference's T = 100 on
images of 1000 x 1000 pixels, its T = 50 on images of 500 x 500. Both forms are the same function:
give areas and temperature in the same unit.

Letters: R regions, I images, K classes, base classes first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from protoanomalyncd.prototypes.pseudo_labels import restrict_to_novel

__all__ = ["SHARE_TEMPERATURE", "merge_regions", "region_weights"]

SHARE_TEMPERATURE = 0.1
"""T for areas given as shares of the image."""


def region_weights(
    areas: Tensor, image_index: Tensor, temperature: float = SHARE_TEMPERATURE
) -> Tensor:
    """Weight of each region in its image: softmax of sqrt(area) / temperature.

    Args:
        areas: (R,) foreground of each region, at least 0: shares of the image, or pixels.
        image_index: (R,) integers 0..I-1, each of them at least once, in any order.
        temperature: in the unit of sqrt(area).

    Returns:
        (R,) float64 weights that sum to 1 in each image.
    """
    if areas.ndim != 1 or image_index.shape != areas.shape:
        raise ValueError(
            f"expected areas and image_index (R,), "
            f"got {tuple(areas.shape)} and {tuple(image_index.shape)}"
        )
    if len(areas) == 0:
        return torch.zeros(0, dtype=torch.float64, device=areas.device)
    if not bool((areas >= 0).all()):
        raise ValueError(f"expected areas of at least 0, got {float(areas.min())}")
    index = image_index.to(torch.int64)
    n_images = int(index.max()) + 1
    if int(index.min()) < 0 or int(index.bincount().min()) == 0:
        raise ValueError(f"expected every image 0..{n_images - 1} to have a region")
    logits = areas.to(torch.float64).sqrt() / temperature
    largest = torch.full((n_images,), -torch.inf, dtype=torch.float64, device=areas.device)
    largest = largest.scatter_reduce(0, index, logits, reduce="amax")
    scaled = (logits - largest[index]).exp()
    total = torch.zeros_like(largest).index_add(0, index, scaled)
    return scaled / total[index]


def merge_regions(
    probabilities: Tensor,
    image_index: Tensor,
    areas: Tensor,
    temperature: float = SHARE_TEMPERATURE,
    n_base: int = 0,
) -> Tensor:
    """Class probabilities of images from those of their regions.

    The order of the regions does not matter, and an image's result depends on its own regions
    only. An image without anomaly takes part as one region: the whole image, area 0.

    Args:
        probabilities: (R, K) softmax(cosines / 0.1) of each region; base classes first.
        image_index: (R,) integers 0..I-1, each of them at least once.
        areas: (R,) foreground of each region: shares of the image, or pixels.
        temperature: `SHARE_TEMPERATURE` for shares; 100 or 50 for pixels as in the reference.
        n_base: B; their columns are zeroed and the rest renormalised, region by region.

    Returns:
        (I, K) probabilities in the precision of the input.
    """
    if probabilities.ndim != 2 or len(probabilities) != len(areas):
        raise ValueError(
            f"expected probabilities (R, K) for {len(areas)} regions, "
            f"got {tuple(probabilities.shape)}"
        )
    weights = region_weights(areas, image_index, temperature)
    novel = restrict_to_novel(probabilities.to(torch.float64), n_base)
    n_images = int(image_index.max()) + 1 if len(image_index) else 0
    merged = torch.zeros(
        (n_images, novel.shape[1]), dtype=torch.float64, device=probabilities.device
    )
    merged = merged.index_add(0, image_index.to(torch.int64), weights[:, None] * novel)
    return merged.to(probabilities.dtype)
