"""Region Guidance Factor: from an anomaly map to the class token's attention logits.

The paper names the factor (background, object, anomaly) and adds M to the class row of the
attention; the formula is *ours* (its exact form is not public)::

    g_j = a_j + (1 - a_j) (rho_o o_j + rho_b (1 - o_j)),    M_j = beta g_j

with a_j, o_j the anomaly and object values of patch j, pooled to [0, 1]. ``mode="hard"`` is
AnomalyNCD's mask (M_j = 0 where the pooled value is at least 0.5, else -1e9) without its known
defect: an image without such a patch stays unguided, and the scores of the map count beside the
mask. Its own, step for step: ``research/published/guidance.py``.

Letters: B images, P patches of a gh x gw grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.config import GuidanceConfig

__all__ = [
    "CLOSED",
    "attention_bias",
    "pool_to_grid",
    "region_guidance_factor",
]

CLOSED = -1e9
"""Logit that closes a patch to the class token (AnomalyNCD's value)."""


def pool_to_grid(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average a map over the patches.

    Args:
        values: (B, H, W).
        grid: patches (gh, gw) over the height and the width.

    Returns:
        (B, gh * gw), row by row.
    """
    return F.adaptive_avg_pool2d(values.unsqueeze(1).float(), grid).flatten(1)


def region_guidance_factor(
    anomaly: Tensor, on_object: Tensor | None, config: GuidanceConfig
) -> Tensor:
    """Factor g of every patch (ours).

    Args:
        anomaly: a, pooled anomaly values in [0, 1], (B, P).
        on_object: o, pooled object mask in [0, 1], (B, P); None = everything is object (a texture).
        config: rho_o and rho_b.

    Returns:
        (B, P), in [rho_b, 1].
    """
    if on_object is None:
        rest = torch.full_like(anomaly, config.object_factor)
    else:
        rest = config.object_factor * on_object + config.background_factor * (1 - on_object)
    return anomaly + (1 - anomaly) * rest


def attention_bias(anomaly: Tensor, on_object: Tensor | None, config: GuidanceConfig) -> Tensor:
    """Logits M that are added to the class row of the attention.

    Args:
        anomaly: a, pooled anomaly values in [0, 1], (B, P).
        on_object: o, pooled object mask in [0, 1], (B, P), or None.
        config: mode, beta, rho_o and rho_b.

    Returns:
        (B, P). Mode ``none``: zeros. Mode ``hard``: 0 where a >= 0.5, else `CLOSED`; an image
        without such a patch is left unguided.
    """
    if config.mode == "none":
        return torch.zeros_like(anomaly)
    if config.mode == "hard":
        inside = anomaly >= 0.5
        bias = torch.where(inside, 0.0, CLOSED).to(anomaly.dtype)
        return torch.where(inside.any(dim=1, keepdim=True), bias, torch.zeros_like(bias))
    return config.beta * region_guidance_factor(anomaly, on_object, config)
