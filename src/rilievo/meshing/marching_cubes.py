"""Marching cubes over bricks: small boxes of lattice values, any number of them, anywhere in one lattice.

A *lattice* has cells[a] cells and cells[a] + 1 vertices along axis a. A *brick* holds the values f at a box of lattice
vertices together with the lattice index of its first vertex; a dense volume is one large brick. Negative is inside.
Every cut is named by the lattice edge it lies on, so the pieces of surface from different bricks share their vertices,
and the result does not depend on how the volume was divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from rilievo.meshing.cube_table import CORNERS, EDGE_AXIS, EDGE_CORNERS, triangle_table
from rilievo.ops.threading import inlined, kernel

LEAST_FRACTION = 1e-3
"""Cuts keep this share of an edge's length from its ends. A value of exactly zero would otherwise collapse triangles,
and merging the collapsed ones can pinch the surface; a thousandth of a voxel is far below the error of linear
interpolation."""


@dataclass(frozen=True)
class Cuts:
    """Where a surface cuts the edges of a lattice, and the triangles spanned by the cuts."""

    lower: Int64[np.ndarray, "v 3"]
    """Lattice index of each edge's lower end."""
    axis: Int64[np.ndarray, "v"]
    ends: Float64[np.ndarray, "v 2"]
    """f at the lower and the upper end; infinite where an end lies outside the domain."""
    faces: Int64[np.ndarray, "f 3"]
    """Counter-clockwise as seen from outside (from growing f)."""

    def fractions(self) -> Float64[np.ndarray, "v"]:
        """Position of each cut along its edge by linear interpolation."""
        return off_ends(linear_root(self.ends))

    def positions(self, fractions: Float64[np.ndarray, "v"]) -> Float64[np.ndarray, "v 3"]:
        """Lattice coordinates of the cuts: whole numbers are lattice vertices."""
        at = self.lower.astype(np.float64)
        at[np.arange(len(at)), self.axis] += fractions
        return at


def linear_root(ends: Float64[np.ndarray, "v 2"]) -> Float64[np.ndarray, "v"]:
    """Zero of the line through (0, f0) and (1, f1); the finite end where one is infinite."""
    low, high = np.abs(ends[:, 0]), np.abs(ends[:, 1])
    finite = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(finite, low, np.isinf(low)), np.where(finite, high, np.isinf(high))
    return low / np.maximum(low + high, np.finfo(np.float64).tiny)


def off_ends(fractions: Float64[np.ndarray, "v"]) -> Float64[np.ndarray, "v"]:
    """Positions along edges, kept LEAST_FRACTION away from the ends."""
    return np.clip(fractions, LEAST_FRACTION, 1 - LEAST_FRACTION)


def march_bricks(
    values: Float[np.ndarray, "bricks x y z"], first: Int64[np.ndarray, "bricks 3"], cells: tuple[int, int, int]
) -> Cuts:
    """Marching cubes of the cells held by the bricks; cells beyond the lattice are left out.

    Bricks must not repeat a cell, and must agree on the vertices they share.
    """
    count, edges = triangle_table()
    limit = np.asarray(cells, dtype=np.int64)
    total = _count_triangles(values, first, limit, count)
    keys, ends = _emit_triangles(values, first, limit, count, edges, total)
    unique, representative, faces = np.unique(keys, return_index=True, return_inverse=True)
    lower = np.stack(np.unravel_index(unique // 3, tuple(n + 1 for n in cells)), axis=-1).astype(np.int64)
    return Cuts(lower, unique % 3, ends[representative], faces.reshape(-1, 3).astype(np.int64))


def march_volume(values: Float[np.ndarray, "x y z"]) -> Cuts:
    """Marching cubes of one dense volume of lattice values."""
    cells = (values.shape[0] - 1, values.shape[1] - 1, values.shape[2] - 1)
    return march_bricks(values[None], np.zeros((1, 3), dtype=np.int64), cells)


@inlined
def _case(values, b, i, j, k):
    case = 0
    for c in range(8):
        if values[b, i + CORNERS[c, 0], j + CORNERS[c, 1], k + CORNERS[c, 2]] < 0:
            case |= 1 << c
    return case


@inlined
def _brick_cells(values, first, limit, b):
    """How many cells of brick b lie within the lattice, per axis."""
    nx = min(values.shape[1] - 1, limit[0] - first[b, 0])
    ny = min(values.shape[2] - 1, limit[1] - first[b, 1])
    nz = min(values.shape[3] - 1, limit[2] - first[b, 2])
    return nx, ny, nz


@kernel(parallel=False)
def _count_triangles(values, first, limit, count):
    total = 0
    for b in range(values.shape[0]):
        nx, ny, nz = _brick_cells(values, first, limit, b)
        for i in range(nx):
            for j in range(ny):
                for k in range(nz):
                    total += count[_case(values, b, i, j, k)]
    return total


@kernel(parallel=False)
def _emit_triangles(values, first, limit, count, edges, total):
    """Per triangle corner: the key of its lattice edge, (lower end's linear index) * 3 + axis, and f at the edge's
    ends."""
    keys = np.empty(3 * total, dtype=np.int64)
    ends = np.empty((3 * total, 2), dtype=np.float64)
    n = 0
    for b in range(values.shape[0]):
        nx, ny, nz = _brick_cells(values, first, limit, b)
        for i in range(nx):
            for j in range(ny):
                for k in range(nz):
                    case = _case(values, b, i, j, k)
                    for t in range(count[case]):
                        for corner in range(3):
                            e = edges[case, t, corner]
                            lo, hi = EDGE_CORNERS[e, 0], EDGE_CORNERS[e, 1]
                            x, y, z = i + CORNERS[lo, 0], j + CORNERS[lo, 1], k + CORNERS[lo, 2]
                            vertex = (first[b, 0] + x) * (limit[1] + 1) + first[b, 1] + y
                            vertex = vertex * (limit[2] + 1) + first[b, 2] + z
                            keys[n] = 3 * vertex + EDGE_AXIS[e]
                            ends[n, 0] = values[b, x, y, z]
                            ends[n, 1] = values[b, i + CORNERS[hi, 0], j + CORNERS[hi, 1], k + CORNERS[hi, 2]]
                            n += 1
    return keys, ends
