"""What normal data varies in, taken off (*ours*; the step itself is textbook).

::

    x' = (x - m) (C / c + lambda I)^(-1/2),      c = trace(C) / D

m and C are mean and covariance of normal data. Directions in which it varies much shrink, so that
what is left says how far something lies *outside* of that. The patch memory compares patches so,
and the encoder compares regions so (`vit.whitening`).

Letters: n rows, D their width.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inverse_root", "whitening_of"]


def inverse_root(covariance: Tensor) -> Tensor:
    """C^(-1/2), symmetric; directions without variance become 0, as in a pseudo-inverse.

    Args:
        covariance: symmetric, of no negative eigenvalue but for rounding, (D, D).
    """
    values, vectors = torch.linalg.eigh(covariance)
    floor = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    root = torch.where(values > floor, values, torch.inf).rsqrt()
    matrix: Tensor = vectors * root @ vectors.T
    return matrix


def whitening_of(normal: Tensor, shrinkage: float) -> tuple[Tensor, Tensor] | None:
    """Mean and matrix of the whitening.

    Args:
        normal: rows of normal data (n, D).
        shrinkage: lambda, above 0; the larger, the less is changed.

    Returns:
        m (D,) and the symmetric matrix (D, D), in the precision of the input; None where the rows
        are all alike, or there are none.
    """
    z = normal.to("cpu", torch.float64)  # some accelerators know no float64
    if len(z) == 0:
        return None
    centre = z.mean(dim=0)
    away = z - centre
    covariance = away.T @ away / len(z)
    scale = covariance.trace() / z.shape[1]
    if scale <= torch.finfo(torch.float32).eps ** 2:
        return None
    identity = torch.eye(z.shape[1], dtype=z.dtype)
    matrix = inverse_root(covariance / scale + shrinkage * identity)
    return centre.to(normal), matrix.to(normal)
