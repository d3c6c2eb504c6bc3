"""A mesh of fewer faces: edges collapse where the surface moves least, by its quadrics (Garland & Heckbert 1997)."""

from __future__ import annotations

import numpy as np

from rilievo.errors import clear
from rilievo.geometry.mesh import TriMesh

HASTE = 3.0
"""How fast the admitted error grows from pass to pass, of 0 to 10: slower keeps the shape better."""


def decimated(mesh: TriMesh, faces: int) -> TriMesh:
    """The mesh with about that many faces, without normals and colours; the mesh itself if it has no more.

    Borders stay where they are with every vertex, so an open mesh may keep more faces. Raises `UserError` where the
    package fast-simplification is missing.
    """
    if faces >= len(mesh.faces):
        return mesh
    try:
        from fast_simplification import simplify
    except ImportError as error:
        raise clear(
            "a mesh of fewer faces",
            expected="the package fast-simplification",
            got="none",
            do="pip install fast-simplification, or keep all faces",
        ) from error
    size = 2.0 ** np.ceil(np.log2(np.ptp(mesh.vertices, axis=0).max()))  # its admitted errors suit things of size one
    vertices, kept = simplify(
        np.ascontiguousarray(mesh.vertices / size, np.float64),
        np.ascontiguousarray(mesh.faces, np.int32),
        target_count=faces,
        agg=HASTE,
        preserve_border=True,
    )
    coarse = TriMesh((size * vertices).astype(mesh.vertices.dtype), kept.astype(mesh.faces.dtype))
    return coarse.with_faces(coarse.areas > 0)
