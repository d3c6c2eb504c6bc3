"""What a mesh is better without: pieces afloat, and whatever lies outside the region of interest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from rilievo.geometry.mesh import TriMesh


def cleaned(
    mesh: TriMesh,
    *,
    min_fraction: float = 0.0,
    center: Float[np.ndarray, "3"] | None = None,
    radius: float | None = None,
) -> TriMesh:
    """The mesh without faces outside a ball, then without pieces smaller than a share of the largest piece's area.

    Faces are kept or left out whole, so a mesh that crosses the ball comes back open; to have it closed there, extract
    it with `cap=True` from a field made positive outside. The centre is the origin where only a radius is given.
    """
    if radius is not None:
        away = np.linalg.norm(mesh.vertices - (0 if center is None else center), axis=1)
        mesh = mesh.with_faces((away <= radius)[mesh.faces].all(axis=1))
    return mesh.without_small_components(min_fraction) if min_fraction > 0 else mesh
