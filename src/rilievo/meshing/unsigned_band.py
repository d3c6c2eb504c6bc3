"""Where an unsigned distance is small: the cells round its zero set, found without asking everywhere.

u ≥ 0 grows from the surface at no more than its slope, hence a block of half diagonal r whose centre is farther than
r from the surface holds none of it. Blocks that pass are halved down to single cells. A learned distance is steeper
here and there, so that all but the last test have a margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64

from rilievo.meshing.lattice import Lattice
from rilievo.meshing.surface import VectorField

BLOCKS = 32
"""Blocks along the longest side to begin with."""

MARGIN = 1.5
"""By how much a learned distance may be steeper than one before a coarse block is lost."""

REACH = 0.9
"""Cells are taken up to this many voxels beyond those that the surface can pass through: enough to carry it past its
own edge, where it is cut."""

CORNER = np.stack(np.unravel_index(np.arange(8), (2, 2, 2)), axis=-1).astype(np.int64)


class UnsignedField:
    """u and the unit vector of its gradient in world coordinates, asked at the nearest point of the box."""

    def __init__(self, lattice: Lattice, gradient: VectorField | None) -> None:
        self.lattice, self.gradient = lattice, gradient
        self.voxel = float(lattice.spacing.mean())

    def distance(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n"]:
        return self.lattice.evaluate(self._at(points))

    def direction(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """∇u / |∇u|, 0 where there is no slope; by differences over a quarter voxel each way without a `gradient`."""
        if self.gradient is None:
            return unit(self._differences(points))
        slope = np.empty((len(points), 3))
        at, chunk = self._at(points), self.lattice.chunk
        for start in range(0, len(at), chunk):
            part = slice(start, start + chunk)
            with torch.no_grad():
                slope[part] = self.gradient(self.lattice.tensor(at[part])).detach().double().cpu().numpy()
        return unit(np.nan_to_num(slope))

    def _differences(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        shifts = np.eye(3) * self.voxel / 4
        return np.stack([self.distance(points + s) - self.distance(points - s) for s in shifts], axis=-1)

    def _at(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        return self.lattice.in_box((points - self.lattice.origin) / self.lattice.spacing)


@dataclass(frozen=True)
class Band:
    """Cells near the surface and their corners."""

    cells: Int64[np.ndarray, "cells 3"]
    """Lattice index of each cell's first corner."""
    corners: Int64[np.ndarray, "corners 3"]
    """Lattice vertices, each once, in the order of `keys`."""
    keys: Int64[np.ndarray, "corners"]
    """Linear index of each corner in the lattice, ascending."""
    of_cell: Int64[np.ndarray, "cells 8"]
    """Corners of each cell, the last axis fastest."""


def narrow_band(field: UnsignedField) -> Band:
    """The cells whose centre is no farther from the surface than half a cell's diagonal and REACH."""
    lattice = field.lattice
    cells = _near_cells(lattice, REACH * field.voxel)
    vertices = cells[:, None] + CORNER
    keys = lattice_keys(vertices.reshape(-1, 3), lattice.cells)
    unique, first, of_cell = np.unique(keys, return_index=True, return_inverse=True)
    return Band(cells, vertices.reshape(-1, 3)[first], unique, of_cell.reshape(-1, 8).astype(np.int64))


def lattice_keys(vertices: Int64[np.ndarray, "n 3"], cells: tuple[int, int, int]) -> Int64[np.ndarray, "n"]:
    """Linear index of lattice vertices."""
    return np.ravel_multi_index(tuple(vertices.T), tuple(n + 1 for n in cells)).astype(np.int64)


def unit(vectors: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Vectors of length one; 0 stays 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _near_cells(lattice: Lattice, reach: float) -> Int64[np.ndarray, "cells 3"]:
    limit = np.asarray(lattice.cells)
    side = 2 ** max(0, round(math.log2(max(lattice.cells) / BLOCKS)))
    index = np.argwhere(np.ones(-(-limit // side), dtype=bool)).astype(np.int64)
    while True:
        low, high = index * side, np.minimum((index + 1) * side, limit)
        radius = np.linalg.norm((high - low) / 2 * lattice.spacing, axis=1)
        slack = MARGIN if side > 1 else 1.0
        index = index[lattice.evaluate((low + high) / 2) <= slack * radius + reach]
        if side == 1:
            return index
        side //= 2
        index = (2 * index[:, None] + CORNER).reshape(-1, 3)
        index = index[(index * side < limit).all(axis=1)]
