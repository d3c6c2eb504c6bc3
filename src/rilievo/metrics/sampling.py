"""Points spread evenly over a mesh, with the normals there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64

from rilievo.geometry.mesh import TriMesh


@dataclass(frozen=True)
class SurfaceSamples:
    """Points of a surface and its unit normals there."""

    points: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]


def sample_surface(mesh: TriMesh, count: int, generator: torch.Generator) -> SurfaceSamples:
    """Independent points, uniform by area; the generator is one of the CPU's."""
    cumulative = np.cumsum(mesh.areas)
    uniform = torch.rand(count, 3, generator=generator, dtype=torch.float64).numpy()
    face = np.searchsorted(cumulative, uniform[:, 0] * cumulative[-1], side="right").clip(max=len(mesh.faces) - 1)
    root = np.sqrt(uniform[:, 1])  # the density of a triangle's cross-section grows with the distance from the corner
    weights = np.stack([1 - root, root * (1 - uniform[:, 2]), root * uniform[:, 2]], axis=-1)
    points = np.einsum("nc,ncx->nx", weights, mesh.corners[face])
    return SurfaceSamples(points, normals_at(mesh, face.astype(np.int64), weights))


def normals_at(
    mesh: TriMesh, face: Int64[np.ndarray, "n"], barycentric: Float64[np.ndarray, "n 3"]
) -> Float64[np.ndarray, "n 3"]:
    """Unit normals at points of faces: interpolated between the vertices where the mesh has vertex normals, else the
    face's."""
    if mesh.normals is None:
        return mesh.face_normals[face]
    normals = np.einsum("nc,ncx->nx", barycentric, mesh.normals[mesh.faces[face]].astype(np.float64))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, lengths, out=mesh.face_normals[face], where=lengths > 1e-12)
