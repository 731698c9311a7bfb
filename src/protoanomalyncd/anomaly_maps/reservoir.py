"""A uniform random subset of a stream of patches that does not depend on the stream's order.

Every patch gets a random priority from (seed, content of its image, position in the image); the
patches with the smallest priorities are kept. Neither file names nor the order of the files nor
copies of a file change the result, and at most twice the capacity is held in memory.
Source: *ours* (reservoir sampling by random keys).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["PatchReservoir"]


class PatchReservoir:
    """Keeps `capacity` random patches.

    Args:
        capacity: patches kept at most, at least 1.
        seed: of the priorities.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self._capacity = capacity
        self._seed = seed
        self._limit = np.inf
        self._keys: list[str] = []
        self._priorities = np.empty(0, np.float64)
        self._owners = np.empty(0, np.int64)
        self._patches: list[Tensor] = []

    def draw(self, key: str, n_patches: int) -> npt.NDArray[np.float64]:
        """Priorities (n_patches,) in [0, 1) of an image's patches; `key`: its hex digest."""
        return np.random.default_rng([self._seed, int(key, 16)]).random(n_patches)

    def wants(self, priorities: npt.NDArray[np.float64]) -> bool:
        """Whether any patch with these priorities could still be kept."""
        return bool((priorities < self._limit).any())

    def add(self, key: str, priorities: npt.NDArray[np.float64], patches: Tensor) -> None:
        """Offer the patches of one image, each image once.

        Args:
            key: hex digest of the image's content.
            priorities: (n,), from `draw`.
            patches: float (n, D).
        """
        chosen = np.flatnonzero(priorities < self._limit)
        self._owners = np.concatenate([self._owners, np.full(len(chosen), len(self._keys))])
        self._keys.append(key)
        self._priorities = np.concatenate([self._priorities, priorities[chosen]])
        self._patches.append(patches[torch.from_numpy(chosen).to(patches.device)])
        if len(self._priorities) >= 2 * self._capacity:
            self._compact()

    def result(self) -> tuple[Tensor, list[str]]:
        """The patches (m, D), m <= capacity, by priority, and the keys of their images.

        Raises:
            ValueError: nothing was added.
        """
        if not self._patches:
            raise ValueError("expected at least one image, got none")
        self._compact()
        return self._patches[0], [self._keys[owner] for owner in self._owners]

    def _compact(self) -> None:
        order = np.argsort(self._priorities, kind="stable")[: self._capacity]
        self._priorities, self._owners = self._priorities[order], self._owners[order]
        patches = torch.cat(self._patches)
        self._patches = [patches[torch.from_numpy(order).to(patches.device)]]
        if len(order) == self._capacity:
            self._limit = float(self._priorities[-1])
