"""The zero set of an unsigned distance u ≥ 0 as a single-layer mesh, open where the surface ends.

Such a field changes sign nowhere, and a learned one does not even reach zero, so there is nothing for marching cubes to
cross. MeshUDF (Guillard et al. 2022, arXiv:2111.14549) lets the gradients at the corners of a cell vote on signs, cell
after cell, and projects the vertices with u and ∇u afterwards. Here votes are taken between tangent planes instead,
whose normals hold at any distance and past an edge. Five steps, a file each:

1. cells near the surface, coarse to fine (`unsigned_band`);
2. tangent planes at their corners, and from them signs within each cell (`unsigned_planes`);
3. marching cubes with those signs (`marching_cubes`): cells on both sides of a face see the same crossings;
4. vertices moved to where u is equal at the same distance on both sides, which does not ask how small u gets;
5. pinholes closed (`unsigned_holes`), the surplus beyond the surface's edge cut off and the border drawn onto the edge
   (`unsigned_edge`), triangles turned alike (`orientation`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.lattice import Lattice, ScalarField
from rilievo.meshing.marching_cubes import Cuts, march_bricks
from rilievo.meshing.orientation import consistently_turned
from rilievo.meshing.surface import VectorField
from rilievo.meshing.unsigned_band import Band, UnsignedField, lattice_keys, narrow_band, unit
from rilievo.meshing.unsigned_edge import Patch, trimmed
from rilievo.meshing.unsigned_holes import pinholes_filled
from rilievo.meshing.unsigned_planes import TangentPlanes, tangent_planes

PROBE = 0.75
"""Voxels to either side of a vertex at which u is compared: far enough for a blunt valley to have walls."""


def extract_unsigned_surface(
    field: ScalarField,
    box_min: Float[Tensor, "3"],
    box_max: Float[Tensor, "3"],
    resolution: int,
    *,
    gradient: VectorField | None = None,
    refine: int = 2,
    min_fraction: float = 1e-3,
    chunk: int = 1 << 18,
) -> TriMesh:
    """Mesh of the valley floor of u inside a box: one layer, with a border where the surface has one.

    `field` must grow like a distance near the surface (of a squared distance give the root); a least value of up to a
    third of a voxel does no harm. `resolution` counts cells along the longest side of the box; `field` and `gradient`
    get points in the dtype and on the device of `box_min`, at most `chunk` at once, and are asked near the surface
    only. A surface needs to be more than two voxels from itself, folds included.

    gradient: ∇u; only its direction is used. Without it u is differenced, six evaluations each.
    refine: rounds of moving the vertices, two evaluations per vertex each.
    min_fraction: pieces with less than this share of the largest piece's area are left out.

    Faces turn alike within a piece where it has two sides. Raises UserError for an impossible box or a field that is
    not finite.
    """
    lattice = Lattice(field, box_min, box_max, resolution, False, chunk, lambda count: None)
    asked = UnsignedField(lattice, gradient)
    band = narrow_band(asked)
    planes = tangent_planes(asked, band)
    values = planes.cell_values(band)
    known = np.isfinite(values).all(axis=1)
    cuts = march_bricks(values[known].reshape(-1, 2, 2, 2), band.cells[known], lattice.cells)
    patch = _balanced(asked, _patch(lattice, band, planes, cuts), refine)
    patch = trimmed(asked, pinholes_filled(asked, patch)) if len(patch.faces) else patch
    faces = consistently_turned(patch.vertices, patch.faces)
    vertices = patch.vertices.astype(box_min.detach().cpu().numpy().dtype)
    mesh = TriMesh(vertices, faces)
    return mesh.without_small_components(min_fraction) if len(faces) else mesh


def _patch(lattice: Lattice, band: Band, planes: TangentPlanes, cuts: Cuts) -> Patch:
    """Crossings in world coordinates, with normals interpolated along their edges."""
    along = cuts.fractions()
    upper = cuts.lower + np.eye(3, dtype=np.int64)[cuts.axis]
    low, high = (
        planes.normals[np.searchsorted(band.keys, lattice_keys(end, lattice.cells))] for end in (cuts.lower, upper)
    )
    high = np.where((low * high).sum(axis=1, keepdims=True) < 0, -high, high)
    normals = unit(low * (1 - along)[:, None] + high * along[:, None])
    return Patch(lattice.positions(cuts.positions(along)), normals, cuts.faces)


def _balanced(field: UnsignedField, patch: Patch, rounds: int) -> Patch:
    """Vertices moved along their normals to the middle between equal distances.

    For u = |d| + ε near a plane, u₊ and u₋ at ±δ from a vertex at height h are δ ± h + ε, hence h ≈ δ (u₊ - u₋) /
    (u₊ + u₋).
    """
    vertices: Float64[np.ndarray, "v 3"] = patch.vertices
    probe = PROBE * field.voxel * patch.normals
    for _ in range(rounds):
        above, below = field.distance(vertices + probe), field.distance(vertices - probe)
        share = (above - below) / np.maximum(above + below, np.finfo(np.float64).tiny)
        vertices = vertices - probe * share[:, None]
    return Patch(vertices, patch.normals, patch.faces)
