"""Distance of patches to their nearest neighbour in a memory, in blocks of bounded size.

Letters: Q query patches, M memory patches, D channels of a descriptor.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["half_squares", "nearest_distance"]

QUERY_BLOCK = 2048
MEMORY_BLOCK = 2048
"""A tile of 2048 x 2048 distances takes 16 MB and stays near the caches; larger was slower."""


def half_squares(memory: Tensor) -> Tensor:
    """|m|^2 / 2 of memory patches (M, D): (M,)."""
    return memory.square().sum(1).mul_(0.5)


def nearest_distance(
    queries: Tensor,
    memory: Tensor,
    excluded: Tensor | None = None,
    half_norms: Tensor | None = None,
) -> Tensor:
    """Euclidean distance to the nearest memory patch.

    The neighbour is found by |m|^2 - 2 q.m, which is one matrix product but loses digits where
    the distance is small against the norms; the distance to the neighbour found is then computed
    from the difference itself. So an error of the first step may exchange two neighbours that are
    equally near, and nothing else. Centre both sides beforehand: it keeps the norms small.

    Args:
        queries: float (Q, D).
        memory: float (M, D), M >= 1.
        excluded: bool (M,), True = not to be used; None = all are used.
        half_norms: `half_squares` of the memory, where they are known.

    Returns:
        float (Q,), >= 0; infinite where every memory patch is excluded.
    """
    half_norms = half_squares(memory) if half_norms is None else half_norms
    if excluded is not None:
        half_norms = half_norms.masked_fill(excluded, torch.inf)
    distances = [
        _nearest_of_block(queries[start : start + QUERY_BLOCK], memory, half_norms)
        for start in range(0, len(queries), QUERY_BLOCK)
    ]
    return torch.cat(distances) if distances else queries.new_empty(0)


def _nearest_of_block(queries: Tensor, memory: Tensor, half_norms: Tensor) -> Tensor:
    """As `nearest_distance`; half_norms: (M,), |m|^2 / 2 or infinite."""
    best = queries.new_full((len(queries),), torch.inf)
    index = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    for start in range(0, len(memory), MEMORY_BLOCK):
        stop = start + MEMORY_BLOCK
        tile = torch.addmm(half_norms[start:stop], queries, memory[start:stop].T, alpha=-1)
        value, position = tile.min(dim=1)
        nearer = value < best
        best = torch.where(nearer, value, best)
        index = torch.where(nearer, position + start, index)
    exact = (queries - memory[index]).square().sum(1).sqrt()
    return torch.where(torch.isfinite(best), exact, torch.inf)
