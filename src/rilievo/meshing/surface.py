"""The surface f = 0 of a scalar field as a triangle mesh, evaluating the field only near the surface.

Three steps: coarse samples choose the bricks that may hold a part of the surface (`seeding`); from these the surface is
followed into every brick it enters (`bricks`); marching cubes of these bricks (`marching_cubes`) gives exactly the
triangles that marching cubes of the whole lattice would give for the pieces that were met. A surface that stays inside
the box comes out closed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.bricks import SIZE, Bricks
from rilievo.meshing.lattice import Lattice, ScalarField
from rilievo.meshing.marching_cubes import Cuts, linear_root, march_bricks, off_ends
from rilievo.meshing.seeding import seed_bricks

VectorField = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]
ColorField = Callable[[Float[Tensor, "n 3"], Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]


@dataclass(frozen=True)
class Progress:
    """How far an extraction has come."""

    stage: str
    """"searching", "following", "sharpening", then "done"."""
    evaluations: int
    """Points at which the field has been asked so far."""
    bricks: int
    """Active bricks of 4³ cells."""


def extract_surface(
    field: ScalarField,
    box_min: Float[Tensor, "3"],
    box_max: Float[Tensor, "3"],
    resolution: int,
    *,
    lipschitz: float | None = None,
    coarse: int | None = None,
    cap: bool = False,
    refine: int = 1,
    gradient: VectorField | None = None,
    color: ColorField | None = None,
    chunk: int = 1 << 18,
    progress: Callable[[Progress], None] | None = None,
) -> TriMesh:
    """Mesh of f = 0 inside a box, normals towards growing f; field < 0 is inside.

    `resolution` counts cells along the longest side of the box; the points handed to `field`, `gradient` and `color`
    have the dtype and device of `box_min`, at most `chunk` at once, and no gradient graph is recorded (`gradient` may
    enable it).

    lipschitz: a bound of |∇f|, where one is known (1 for a true distance). By default it is measured, see `seeding`.
    coarse: cells per side of the blocks sampled first, 4 times a power of two. Fields that are not like a distance,
    such as
        densities, show nothing of a surface that passes between the samples: give 4 to sample them more densely.
    cap: close the surface where it leaves the box, as if everything outside were empty. The lid lies a thousandth of a
    voxel
        outside the box.
    refine: rounds of secant refinement of the vertices along their edges, one evaluation per vertex each.
    gradient: ∇f, for vertex normals. Without it the mesh has none.
    color: (points, normals) → sRGB in [0, 1], for vertex colours; normals are zero without `gradient`.

    An empty mesh is returned where f does not change sign. Raises UserError for an impossible box or a field that is
    not finite.
    """
    bricks: Bricks | None = None
    stage = "searching"

    def tell(evaluations: int) -> None:
        if progress is not None:
            progress(Progress(stage, evaluations, 0 if bricks is None else len(bricks)))

    lattice = Lattice(field, box_min, box_max, resolution, cap, chunk, tell)
    seeds = seed_bricks(lattice, lipschitz, coarse)
    bricks, stage = Bricks(lattice), "following"
    while len(seeds):
        known = len(bricks)
        bricks.activate(seeds)
        seeds = bricks.neighbours_across_the_surface(known)
    cuts = march_bricks(bricks.values, bricks.index * SIZE, lattice.cells)
    stage = "sharpening"
    at = cuts.positions(sharpened(lattice, cuts, refine))
    normals, colors = _attributes(lattice, cuts, at, gradient, color)
    stage = "done"
    tell(lattice.evaluations)
    vertices = torch.from_numpy(lattice.positions(at)).to(box_min.dtype).numpy()
    return TriMesh(vertices, cuts.faces, normals, colors)


def density_field(density: ScalarField, level: float) -> ScalarField:
    """The field log(level / density), whose surface f = 0 encloses what is denser than `level` (> 0).

    Densities grow exponentially towards a surface; their logarithm is close to straight there and interpolates well.
    """
    return lambda points: -torch.log((density(points) / level).clamp_min(1e-12))


def sharpened(lattice: Lattice, cuts: Cuts, rounds: int) -> Float64[np.ndarray, "v"]:
    """Positions of the cuts along their edges by regula falsi, `rounds` evaluations each; cuts of a lid stay as they
    are."""
    fractions = cuts.fractions()
    moving = np.flatnonzero(np.isfinite(cuts.ends).all(axis=1))
    low, high = np.zeros(len(moving)), np.ones(len(moving))
    ends, at = cuts.ends[moving].copy(), cuts.positions(fractions)
    for _ in range(rounds if len(moving) else 0):
        f = lattice.evaluate(at[moving])
        same_side_as_low = (f < 0) == (ends[:, 0] < 0)
        low, high = (
            np.where(same_side_as_low, fractions[moving], low),
            np.where(same_side_as_low, high, fractions[moving]),
        )
        ends = np.where(np.stack([same_side_as_low, ~same_side_as_low], axis=-1), f[:, None], ends)
        fractions[moving] = off_ends(low + linear_root(ends) * (high - low))
        at = cuts.positions(fractions)
    return fractions


def _attributes(
    lattice: Lattice, cuts: Cuts, at: Float64[np.ndarray, "v 3"], gradient: VectorField | None, color: ColorField | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Unit normals and 8-bit colours of the vertices; on a lid the normal is that of the box."""
    dtype, device = lattice.box_min.dtype, lattice.box_min.device
    normals = torch.zeros(len(at), 3, dtype=dtype)
    rgb = torch.zeros(len(at), 3)
    lid = torch.from_numpy(np.isinf(cuts.ends[:, 1]).astype(np.float64) - np.isinf(cuts.ends[:, 0]))
    axis = torch.from_numpy(np.eye(3)[cuts.axis])
    inside = lattice.in_box(at)
    for start in range(0, len(at), lattice.chunk):
        part = slice(start, start + lattice.chunk)
        points = lattice.tensor(inside[part])
        if gradient is not None:
            with torch.no_grad():
                slope = gradient(points).detach().to("cpu", dtype)
            slope = torch.where(lid[part, None] == 0, slope, (lid[part, None] * axis[part]).to(dtype))
            normals[part] = torch.nn.functional.normalize(slope, dim=-1)
        if color is not None:
            with torch.no_grad():
                rgb[part] = color(points, normals[part].to(device)).detach().float().cpu()
    colors = (rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return None if gradient is None else normals.numpy(), None if color is None else colors
