"""Prototypes on the hypersphere: a von Mises-Fisher mixture with equal priors and shared kappa.

p(k|z) = softmax_k(kappa mu_k . z) with kappa = 1 / tau. Source: the paper for the mixture,
AnomalyNCD and SimGCD for its form as a weight-normalised linear layer beside a projection MLP that
serves the contrastive losses only.

Letters: n samples, C channels, K = B + N classes (B known, N novel).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PrototypeHead"]

PROJECTION_DIM = 256
"""Width of the contrastive projection (AnomalyNCD, SimGCD)."""


class PrototypeHead(nn.Module):
    """Prototypes mu (K, C) and the contrastive projection.

    The first B prototypes are the known classes', the next is reserved for "normal" (AnomalyNCD),
    the others are the novel defect classes'.

    Args:
        embed_dim: C.
        n_base: B, known classes.
        n_novel: N, classes of the unlabelled set, its normal class included.
        n_fixed: last entries of an embedding that no training changes (the region's descriptors).
            The contrastive losses do not see them: they are the same in all views of a crop, and
            to tell crops apart by them would teach the network nothing.

    Attributes:
        prior: expected shares of the novel classes (N,), sum 1; all alike until they are set.
    """

    prior: Tensor

    def __init__(self, embed_dim: int, n_base: int, n_novel: int, n_fixed: int = 0) -> None:
        super().__init__()
        self.n_base = n_base
        self.n_novel = n_novel
        self.n_trained = embed_dim - n_fixed
        self.weight = nn.Parameter(F.normalize(torch.randn(n_base + n_novel, embed_dim), dim=-1))
        self.register_buffer("prior", torch.full((n_novel,), 1 / n_novel))
        self.projection = nn.Sequential(
            nn.Linear(self.n_trained, 2048),
            nn.GELU(),
            nn.Linear(2048, 2048),
            nn.GELU(),
            nn.Linear(2048, PROJECTION_DIM),
        )

    @property
    def normal_index(self) -> int:
        """Position of the prototype reserved for normal regions."""
        return self.n_base

    @property
    def prototypes(self) -> Tensor:
        """Unit prototypes (K, C)."""
        return F.normalize(self.weight, dim=-1)

    def forward(self, z: Tensor) -> Tensor:
        """Unit embeddings (n, C) -> cosines to the prototypes (n, K)."""
        return z @ self.prototypes.T

    def project(self, z: Tensor) -> Tensor:
        """Unit embeddings (n, C) -> unit projections (n, `PROJECTION_DIM`)."""
        if self.n_trained < z.shape[1]:
            z = F.normalize(z[:, : self.n_trained], dim=-1)
        return F.normalize(self.projection(z), dim=-1)

    @torch.no_grad()
    def set_prototypes(self, start: Tensor) -> None:
        """Put the prototypes at given directions (K, C)."""
        self.weight.copy_(F.normalize(start, dim=-1))

    @torch.no_grad()
    def set_prior(self, members: Tensor) -> None:
        """Expect the novel classes to be as large as a first grouping has them.

        Source: *ours*. A tenth of the weight stays with equal shares: no class is ruled out.

        Args:
            members: novel class of each unlabelled sample (n,), 0..N-1.
        """
        counts = torch.bincount(members, minlength=self.n_novel).to(self.prior)
        self.prior.copy_(0.9 * counts / counts.sum().clamp_min(1) + 0.1 / self.n_novel)
        self.prior.div_(self.prior.sum())

    @torch.no_grad()
    def reorder_novel(self, order: list[int]) -> None:
        """Put novel prototype ``order[k]`` at place k; known classes stay."""
        novel = self.weight[self.n_base :][order].clone()
        self.weight[self.n_base :] = novel
        self.prior.copy_(self.prior[order].clone())
