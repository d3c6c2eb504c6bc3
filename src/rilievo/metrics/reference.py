"""True surfaces to compare with: a mesh, or points sampled on the part of a surface that can be seen.

A sampled reference is a `.npz` file with `points` [n, 3] and unit `normals` [n, 3]. Where a mesh lies beside it
(`mesh.ply`), distances *to* the reference are measured to that mesh, and the points say which part of it is to be
found. Without one, the surface near a point is taken to be flat: a sample is as far from it as from the tangent plane
at the nearest point, if it lies over the patch which that point stands for.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from scipy.spatial import KDTree

from rilievo.errors import clear
from rilievo.geometry.ball import bounding_ball
from rilievo.geometry.mesh import TriMesh
from rilievo.io.mesh_file import read_mesh
from rilievo.metrics.sampling import SurfaceSamples, normals_at, sample_surface
from rilievo.ops.nearest import SurfaceTree


class MeshSurface:
    """A mesh that can be asked for distances."""

    def __init__(self, mesh: TriMesh) -> None:
        self.mesh = mesh
        self._tree = SurfaceTree(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces))

    def samples(self, count: int, generator: torch.Generator) -> SurfaceSamples:
        return sample_surface(self.mesh, count, generator)

    def nearest(
        self, points: Float64[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n 3"]]:
        """Distance to the surface, and its normal at the nearest point."""
        found = self._tree.nearest(torch.from_numpy(points))
        return found.distance.numpy(), normals_at(self.mesh, found.face.numpy(), found.barycentric.numpy())

    @property
    def radius(self) -> float:
        return self.mesh.bounding_ball[1]

    @property
    def area(self) -> float:
        return self.mesh.area

    @property
    def has_sides(self) -> bool:
        """Whether normals have a meaningful sign: an open sheet may be wound either way."""
        return self.mesh.is_closed()


@dataclass(frozen=True)
class SampledSurface:
    """Points and normals of the part of a surface that is to be found."""

    points: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]
    whole: MeshSurface | None = None
    """The surface that the points were taken from, where it is known."""

    def samples(self, count: int, generator: torch.Generator) -> SurfaceSamples:
        """At most `count` of the points, in random order: they may be stored along a curve."""
        chosen = torch.randperm(len(self.points), generator=generator)[:count].numpy()
        return SurfaceSamples(self.points[chosen], self.normals[chosen])

    def nearest(
        self, points: Float64[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n 3"]]:
        """Distance to the surface, and its normal at the nearest point."""
        if self.whole is not None:
            return self.whole.nearest(points)
        tree = KDTree(self.points)
        straight, index = tree.query(points)
        height = np.abs(((points - self.points[index]) * self.normals[index]).sum(axis=1))
        aside = np.sqrt(np.maximum(straight**2 - height**2, 0))
        patch = 3 * np.median(tree.query(self.points[:: max(1, len(self.points) // 10_000)], k=2)[0][:, 1])
        return np.where(aside <= patch, height, straight), self.normals[index]

    @property
    def radius(self) -> float:
        return bounding_ball(self.points)[1]

    @property
    def area(self) -> float:
        """Of the whole surface; NaN where only points of it are known."""
        return math.nan if self.whole is None else self.whole.area

    @property
    def has_sides(self) -> bool:
        return self.whole is None or self.whole.has_sides


def read_reference(path: Path) -> MeshSurface | SampledSurface:
    """A reference surface from a mesh file or a `.npz` of points and normals.

    Raises UserError when the file is missing, broken or of another kind.
    """
    if path.suffix.lower() != ".npz":
        return MeshSurface(read_mesh(path))
    try:
        with np.load(path, allow_pickle=False) as file:
            points, normals = (file[name].astype(np.float64) for name in ("points", "normals"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise clear(
            str(path),
            expected="an .npz file with the arrays points and normals",
            got=f"{type(error).__name__}: {error}",
            do="check the path, or give a mesh file",
        ) from error
    beside = path.with_name("mesh.ply")
    return SampledSurface(points, normals, MeshSurface(read_mesh(beside)) if beside.is_file() else None)
