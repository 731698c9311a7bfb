"""What a product hands to a defect: the clean surface, and what lies behind it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from protoanomalyncd.core.records import FloatArray

__all__ = ["Scene", "lamp"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A clean product, before the camera.

    Args:
        colour: the picture, RGB in [0, 1], ``(S, S, 3)``.
        cover: share of each pixel that the product covers, ``(S, S)``; 1 everywhere for a texture.
        behind: what shows through a hole or a chipped edge, RGB in [0, 1], ``(S, S, 3)``.
        light: direction towards the lamp (x, y), unit vector.
        inside: colour of the bare material in a fracture, RGB in [0, 1].
    """

    colour: FloatArray
    cover: FloatArray
    behind: FloatArray
    light: tuple[float, float]
    inside: tuple[float, float, float]

    @property
    def size(self) -> int:
        """Side of the image [px]."""
        return int(self.colour.shape[0])

    def place(self, rng: np.random.Generator, margin: float) -> tuple[float, float]:
        """A random point of the product, x, y [image sides].

        Args:
            rng: draws the point.
            margin: wanted distance to the product's edge and to the frame [image sides]; where
                the product is too thin for it, the point lies in its thickest part.
        """
        solid = np.zeros((self.size + 2, self.size + 2), np.uint8)
        solid[1:-1, 1:-1] = self.cover > 0.9
        depth = cv2.distanceTransform(solid, cv2.DIST_L2, 3)[1:-1, 1:-1]
        rows, columns = np.nonzero(depth >= min(margin * self.size, 0.8 * float(depth.max())))
        pick = int(rng.random() * len(rows))
        return (columns[pick] + 0.5) / self.size, (rows[pick] + 0.5) / self.size

    def brightness(self) -> float:
        """Mean grey value of the product, in [0, 1]."""
        return float((self.colour.mean(-1) * self.cover).sum() / max(float(self.cover.sum()), 1.0))


def lamp(rng: np.random.Generator) -> tuple[float, float]:
    """Direction towards the lamp (x, y): the rig is fixed, its bracket has some play."""
    angle = rng.normal(-2.2, 0.12)
    return float(np.cos(angle)), float(np.sin(angle))
