"""Region Guidance Factor: from an anomaly map to the class token's attention logits.

The paper names the factor (background, object, anomaly) and adds M to the class row of the
attention; the formula is *ours* (its exact form is not public)::

    g_j = a_j + (1 - a_j) (rho_o o_j + rho_b (1 - o_j)),    M_j = beta g_j

with a_j, o_j the anomaly and object values of patch j, pooled to [0, 1]. beta may differ from block
to block (`block_strengths`). AnomalyNCD's hard mask (M_j = 0 where the pooled mask is at least 0.5,
else -1e9) is ``mode="reference"``; ``mode="hard"`` differs from it where it has a known defect: an
image without such a patch stays unguided, and the scores of the map count beside the mask.

Letters: B images, P patches of a gh x gw grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.config import GuidanceConfig
from protoanomalyncd.core.errors import ConfigurationError

__all__ = [
    "CLOSED",
    "attention_bias",
    "block_strengths",
    "class_row_mask",
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
        (B, P). Mode ``none``: zeros. Modes ``hard`` and ``reference``: 0 where a >= 0.5, else
        `CLOSED`. An image without such a patch is left unguided in mode ``hard``; in mode
        ``reference`` its class token is left alone with itself, as AnomalyNCD does.
    """
    if config.mode == "none":
        return torch.zeros_like(anomaly)
    if config.mode in ("hard", "reference"):
        inside = anomaly >= 0.5
        bias = torch.where(inside, 0.0, CLOSED).to(anomaly.dtype)
        if config.mode == "reference":
            return bias
        return torch.where(inside.any(dim=1, keepdim=True), bias, torch.zeros_like(bias))
    return config.beta * region_guidance_factor(anomaly, on_object, config)


def block_strengths(config: GuidanceConfig, n_guided: int) -> list[float]:
    """What each guided block multiplies M by: its own beta over `GuidanceConfig.beta`.

    Args:
        config: beta and betas.
        n_guided: guided blocks.

    Returns:
        One factor a guided block, first to last; all 1 without `GuidanceConfig.betas`.

    Raises:
        ConfigurationError: there are more or fewer betas than guided blocks.
    """
    if config.betas is None:
        return [1.0] * n_guided
    if len(config.betas) != n_guided:
        raise ConfigurationError(
            f"guidance.betas: expected one number for each of the {n_guided} guided blocks, "
            f"got {len(config.betas)}"
        )
    return [beta / config.beta for beta in config.betas]


def class_row_mask(bias: Tensor, n_prefix: int) -> Tensor:
    """Attention mask with only the class row non-zero, as timm's blocks take it.

    Args:
        bias: M of the patches, (B, P).
        n_prefix: tokens before the patches (the class token first, then registers); their keys
            stay open.

    Returns:
        (B, 1, n_prefix + P, n_prefix + P).
    """
    n_others = n_prefix + bias.shape[1] - 1
    return F.pad(bias[:, None, None, :], (n_prefix, 0, 0, n_others))
