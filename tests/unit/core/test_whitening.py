"""whitening.py: what normal rows vary in counts less afterwards."""

from __future__ import annotations

import pytest
import torch

from protoanomalyncd.core.whitening import whitening_of

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def rows(dtype: torch.dtype, scales: tuple[float, ...] = (9.0, 1.0, 0.1)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    spread = torch.randn(400, len(scales), generator=generator, dtype=torch.float64)
    return (spread * torch.tensor(scales, dtype=torch.float64) + 5).to(dtype)


@DTYPES
def test_by_loops(dtype: torch.dtype) -> None:
    """matrix^-2 is the covariance over its mean variance, plus lambda on the diagonal."""
    normal = rows(dtype)
    found = whitening_of(normal, 0.5)
    assert found is not None
    centre, matrix = found
    n, d = normal.shape
    mean = [sum(normal[i, a].item() for i in range(n)) / n for a in range(d)]
    covariance = [
        [
            sum((normal[i, a].item() - mean[a]) * (normal[i, b].item() - mean[b]) for i in range(n))
            / n
            for b in range(d)
        ]
        for a in range(d)
    ]
    scale = sum(covariance[a][a] for a in range(d)) / d
    expected = torch.tensor(
        [[covariance[a][b] / scale + (0.5 if a == b else 0) for b in range(d)] for a in range(d)]
    )
    assert centre.dtype == matrix.dtype == dtype
    torch.testing.assert_close(centre.float(), torch.tensor(mean), rtol=1e-4, atol=1e-4)
    undone = torch.linalg.inv(matrix.double() @ matrix.double()).float()
    torch.testing.assert_close(undone, expected, rtol=1e-3, atol=1e-3)


def test_directions_of_much_variance_shrink_most() -> None:
    found = whitening_of(rows(torch.float64), 0.01)
    assert found is not None
    spread = ((rows(torch.float64) - found[0]) @ found[1]).std(dim=0)
    before = rows(torch.float64).std(dim=0)
    assert spread[0] / spread[1] < 1.2
    assert before[0] / before[1] > 5


def test_a_large_shrinkage_only_scales() -> None:
    found = whitening_of(rows(torch.float64), 1e6)
    assert found is not None
    torch.testing.assert_close(found[1] * 1e3, torch.eye(3).double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("normal", [torch.zeros(0, 4), torch.ones(1, 4), torch.ones(9, 4)])
def test_rows_that_are_alike_say_nothing(normal: torch.Tensor) -> None:
    assert whitening_of(normal, 0.3) is None
