"""The frames in which a normal map speaks, as glTF 2.0 defines them (section 3.7.2.1), and normals in these frames.

At a vertex: the normal n; the tangent t, unit, along which u grows; the bitangent b = w n × t, along which v grows
upwards, w = ±1. In between n and t are interpolated and made unit, which leaves them not quite at right angles. A texel
(x, y, z) means the direction of x t + y b + z n.

Tangents are those of MikkTSpace (Mikkelsen 2008), which Blender and others compute for themselves whatever a file
says: of each face round a vertex the direction of growing u, in the plane across n, weighted by the face's angle there.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from rilievo.geometry.mesh import TriMesh

SHALLOW = 1e-3
"""Least z of a stored normal before it is made unit: glTF knows none that point below the surface."""


def vertex_tangents(mesh: TriMesh, uv: Float[np.ndarray, "v 2"]) -> Float64[np.ndarray, "v 4"]:
    """t and w at the vertices of a mesh with normals, whose places in the picture are `uv`, v upwards."""
    assert mesh.normals is not None, "tangents belong to normals"
    placed = uv[mesh.faces].astype(np.float64)
    first, second = np.moveaxis(placed[:, 1:] - placed[:, :1], 1, 0)
    turn = np.sign(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])  # 1 where a face is seen from its front
    sides = mesh.corners[:, 1:] - mesh.corners[:, :1]
    along_u = turn[:, None] * (second[:, 1:] * sides[:, 0] - first[:, 1:] * sides[:, 1])
    normals = mesh.normals[mesh.faces].astype(np.float64)  # [f, corner, 3]
    along = _flattened(along_u[:, None], normals)
    ahead = _flattened(np.roll(mesh.corners, -1, axis=1) - mesh.corners, normals)
    behind = _flattened(np.roll(mesh.corners, 1, axis=1) - mesh.corners, normals)
    angles = np.arccos((ahead * behind).sum(-1).clip(-1, 1))
    summed = np.zeros((len(mesh.vertices), 4))
    for axis, parts in enumerate((*np.moveaxis(along, -1, 0), np.broadcast_to(turn[:, None], angles.shape))):
        summed[:, axis] = np.bincount(mesh.faces.ravel(), (angles * parts).ravel(), minlength=len(summed))
    tangents = _flattened(summed[:, :3], mesh.normals.astype(np.float64))
    lost = ~tangents.any(-1)  # no face with a place in the picture: any tangent will do
    tangents[lost] = _across(mesh.normals[lost].astype(np.float64))
    return np.concatenate([tangents, np.where(summed[:, 3:] < 0, -1.0, 1.0)], -1)


def in_tangent_space(
    directions: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], tangents: Float[np.ndarray, "n 4"]
) -> Float64[np.ndarray, "n 3"]:
    """Unit (x, y, z) of directions in frames of interpolated normals and tangents."""
    n, t = unit(normals), unit(tangents[:, :3])
    b = np.sign(tangents[:, 3:]) * np.cross(n, t)
    lean = (n * t).sum(-1, keepdims=True)
    over, ahead = ((directions * axis).sum(-1, keepdims=True) for axis in (n, t))
    sideways = (directions * b).sum(-1, keepdims=True)
    # the solution of x t + y b + z n = direction, times |b|² = 1 - (n·t)²
    told = np.concatenate([ahead - lean * over, sideways, (over - lean * ahead).clip(SHALLOW)], -1)
    return unit(told)


def unit(vectors: Float[np.ndarray, "*n c"]) -> Float64[np.ndarray, "*n c"]:
    """Vectors of length one; 0 stays 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)


def _flattened(vectors: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The directions of vectors in the planes across unit normals; 0 where there is none."""
    return unit(vectors - (vectors * normals).sum(-1, keepdims=True) * normals)


def _across(normals: np.ndarray) -> np.ndarray:
    """Unit vectors at right angles to others."""
    least = np.eye(3)[np.abs(normals).argmin(-1)]
    return unit(np.cross(normals, least))
