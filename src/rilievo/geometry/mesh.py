"""Triangle meshes: arrays with names, nothing more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True)
class TriMesh:
    """Vertices, counter-clockwise triangles (seen from outside), and optional per-vertex normals and sRGB colours."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"] | None = None
    colors: UInt8[np.ndarray, "v 3"] | None = None
