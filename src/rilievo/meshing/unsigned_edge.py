"""The edge of an open surface: where to cut a mesh that goes on past it.

The mesh follows tangent planes, which know no end. Beyond the edge of the surface its vertices are as far from the
surface as they are from the edge, and the gradient points away from the edge within the mesh. So the mesh is cut along
a contour of the *overhang* o = u - (smallest u of the field), and what still hangs over is drawn back by o.

A learned distance varies along the surface; where o is large in the middle of the mesh and not larger than a voxel,
that is noise and no hole is cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rilievo.meshing.unsigned_band import UnsignedField, unit

CUT = 0.3
"""Overhang in voxels at which the mesh is cut, unless the field itself varies more."""

HOLE = 1.0
"""Overhang in voxels that makes a hole of a spot in the middle of the mesh."""


@dataclass(frozen=True)
class Patch:
    """A mesh on its way: positions, normals of either side, triangles."""

    vertices: Float64[np.ndarray, "v 3"]
    normals: Float64[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]


def trimmed(field: UnsignedField, patch: Patch) -> Patch:
    """The mesh cut at the surface's edge, its border drawn back onto the edge."""
    level = field.distance(patch.vertices)
    floor = np.median(level)
    spread = 1.4826 * np.median(np.abs(level - floor))
    cut = field.voxel * min(max(CUT, 5 * spread / field.voxel), HOLE)
    overhang = _without_spots(level - floor, cut, HOLE * field.voxel, patch.faces)
    kept, is_cut = _cut_at(patch, overhang - cut)
    return _drawn_back(field, kept, is_cut, floor, cut)


def face_edges(faces: Int64[np.ndarray, "f 3"]) -> tuple[Int64[np.ndarray, "e 2"], Int64[np.ndarray, "e"]]:
    """The edges of triangles, lower vertex first, and how many triangles have each."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0, return_counts=True)


def joined(edges: Int64[np.ndarray, "e 2"], vertices: int) -> tuple[int, Int[np.ndarray, "v"]]:
    """Number of pieces that edges join vertices to, and the piece of each vertex."""
    graph = coo_array((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(vertices, vertices))
    return connected_components(graph, directed=False)


def _without_spots(
    overhang: Float64[np.ndarray, "v"], cut: float, hole: float, faces: Int64[np.ndarray, "f 3"]
) -> Float64[np.ndarray, "v"]:
    """Overhang, held below the cut in spots that neither reach the border of the mesh nor are as deep as a hole."""
    over = overhang > cut
    edges, count = face_edges(faces)
    border = np.zeros(len(overhang), dtype=bool)
    border[edges[count == 1].ravel()] = True
    pieces, piece = joined(edges[over[edges].all(axis=1)], len(over))
    real = np.zeros(pieces, dtype=bool)
    real[piece[over & (border | (overhang > hole))]] = True
    return np.where(over & ~real[piece], cut * (1 - 1e-6), overhang)


def _cut_at(patch: Patch, level: Float64[np.ndarray, "v"]) -> tuple[Patch, Bool[np.ndarray, "kept"]]:
    """The part where level ≤ 0, triangles cut along the contour, and which vertices lie on it."""
    out = level > 0
    many = out[patch.faces].sum(axis=1)
    whole = patch.faces[many == 0]
    one, two = patch.faces[many == 1], patch.faces[many == 2]
    one = np.take_along_axis(one, (out[one].argmax(axis=1)[:, None] + np.arange(3)) % 3, axis=1)  # outer corner first
    two = np.take_along_axis(two, ((~out[two]).argmax(axis=1)[:, None] + np.arange(3)) % 3, axis=1)  # inner one first
    crossed = np.sort(np.concatenate([one[:, [0, 1]], one[:, [0, 2]], two[:, [0, 1]], two[:, [0, 2]]]), axis=1)
    edges, at = np.unique(crossed, axis=0, return_inverse=True)
    at = at.reshape(-1) + len(patch.vertices)
    first, second, third, fourth = np.split(at, np.cumsum([len(one), len(one), len(two)]))
    a, b = edges.T
    t = (level[a] / np.where(level[a] == level[b], 1, level[a] - level[b]))[:, None]
    side = np.where((patch.normals[a] * patch.normals[b]).sum(axis=1) < 0, -1, 1)[:, None]
    vertices = np.concatenate([patch.vertices, patch.vertices[a] * (1 - t) + patch.vertices[b] * t])
    normals = np.concatenate([patch.normals, unit(patch.normals[a] * (1 - t) + side * patch.normals[b] * t)])
    faces = np.concatenate(
        [
            whole,
            np.stack([first, one[:, 1], one[:, 2]], axis=1),
            np.stack([first, one[:, 2], second], axis=1),
            np.stack([two[:, 0], third, fourth], axis=1),
        ]
    )
    used, faces = np.unique(faces, return_inverse=True)
    return Patch(vertices[used], normals[used], faces.reshape(-1, 3)), used >= len(patch.vertices)


def _drawn_back(field: UnsignedField, patch: Patch, is_cut: Bool[np.ndarray, "v"], floor: float, cut: float) -> Patch:
    """Vertices on the contour, and others beyond a third of the cut, moved within the surface onto its edge."""
    vertices = patch.vertices.copy()
    overhang = field.distance(vertices) - floor
    moving = np.flatnonzero((overhang > 0) & (is_cut | (overhang > cut / 3)))
    slope, normal = field.direction(vertices[moving]), patch.normals[moving]
    within = slope - (slope * normal).sum(axis=1, keepdims=True) * normal
    vertices[moving] -= np.minimum(overhang[moving], 2 * cut)[:, None] * within
    return Patch(vertices, patch.normals, patch.faces)
