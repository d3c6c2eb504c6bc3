"""The texels of a square picture that a mesh laid flat covers, and what the mesh has at their centres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import distance_transform_edt

BLEED = 4
"""Texels by which pieces are continued."""


@dataclass(frozen=True)
class Texels:
    """Texels whose centres lie on a face, each once; where faces meet, the first is named."""

    size: int
    """Side of the picture."""
    rows: Int[np.ndarray, "n"]
    """Row 0 is at the top, where v is 1."""
    columns: Int[np.ndarray, "n"]
    corners: Int[np.ndarray, "n 3"]
    """Vertices of the face."""
    weights: Float[np.ndarray, "n 3"]
    """Of the corners, adding to one."""

    def interpolated(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "n c"]:
        """What is given at vertices, at the texels."""
        return (values[self.corners] * self.weights[..., None]).sum(1)

    def picture(self, values: Float[np.ndarray, "n c"], empty: tuple[float, ...]) -> UInt8[np.ndarray, "s s c"]:
        """8 bits from values in [0, 1]. What they show is continued into the gaps by the nearest texel, `BLEED` texels
        far, so that no background shows at seams; the rest is `empty`."""
        shown = np.zeros((self.size, self.size), bool)
        shown[self.rows, self.columns] = True
        drawn = np.empty((self.size, self.size, len(empty)), np.uint8)
        drawn[:] = _bits(np.array(empty))
        drawn[self.rows, self.columns] = _bits(values)
        distance, nearest = distance_transform_edt(~shown, return_indices=True)
        return np.where((distance <= BLEED)[..., None], drawn[nearest[0], nearest[1]], drawn)


def covered_texels(faces: Int[np.ndarray, "f 3"], uv: Float[np.ndarray, "v 2"], size: int) -> Texels:
    """The texels of a picture `size` wide that show faces whose corners lie at `uv`, in [0, 1]², v upwards."""
    corners = uv[faces].astype(np.float64) * size - 0.5  # in texels, [f, 3, 2]
    low = np.ceil(corners.min(1) - 1e-9).clip(0).astype(int)
    high = np.floor(corners.max(1) + 1e-9).clip(max=size - 1).astype(int)
    extent = (high - low + 1).clip(0)
    owner = np.repeat(np.arange(len(faces)), extent.prod(1))
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(extent.prod(1)) - extent.prod(1), extent.prod(1))
    x = low[owner, 0] + rank % extent[owner, 0]
    y = low[owner, 1] + rank // extent[owner, 0]
    weights = _barycentric(corners[owner], np.stack([x, y], -1))
    inside = np.flatnonzero((weights >= -1e-6).all(-1))
    _, first = np.unique(y[inside] * size + x[inside], return_index=True)
    kept = inside[first]
    return Texels(size, size - 1 - y[kept], x[kept], faces[owner[kept]], weights[kept])


def _barycentric(corners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Weights of three corners [n, 3, 2] at places [n, 2]; NaN for corners without area between them."""
    a, b, c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = places - a
    area = b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0]
    area = np.where(area == 0, np.nan, area)
    beta = (p[:, 0] * c[:, 1] - p[:, 1] * c[:, 0]) / area
    gamma = (b[:, 0] * p[:, 1] - b[:, 1] * p[:, 0]) / area
    return np.stack([1 - beta - gamma, beta, gamma], -1)


def _bits(values: np.ndarray) -> np.ndarray:
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)
