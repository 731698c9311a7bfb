"""Groups of directions, as far apart as one likes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from protoanomalyncd.discovery.count import CountData


def groups(n_groups: int, size: int, spread: float = 0.02, seed: int = 0) -> np.ndarray:
    """Unit rows (n_groups * size, 32), group after group, about random directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_groups, 32))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = np.repeat(centres, size, axis=0) + spread * rng.normal(size=(n_groups * size, 32))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embedded(
    n_groups: int, size: int = 12, n_quiet: int = 0, n_base: int = 0, spread: float = 0.02
) -> CountData:
    """Regions of `n_groups` kinds, images without a region, and `n_base` known kinds."""
    total = n_groups + n_base + (1 if n_quiet else 0)
    rows = groups(total, max(size, n_quiet), spread).reshape(total, -1, 32)
    parts = [rows[k, :size] for k in range(n_groups)]
    anomalous, labels = [True] * (n_groups * size), [-1] * (n_groups * size)
    if n_quiet:
        parts.append(rows[n_groups, :n_quiet])
        anomalous += [False] * n_quiet
        labels += [-1] * n_quiet
    for k in range(n_base):
        parts.append(rows[total - n_base + k, :size])
        anomalous += [True] * size
        labels += [k] * size
    z = torch.from_numpy(np.concatenate(parts)).float()
    generator = torch.Generator().manual_seed(1)
    views = torch.stack(
        [z, *(z + 0.3 * spread * torch.randn(z.shape, generator=generator) for _ in range(2))], 1
    )
    quiet = torch.tensor(anomalous)
    return CountData(
        F.normalize(views, dim=-1), quiet, torch.where(quiet, 0.9, 0.1), torch.tensor(labels)
    )
