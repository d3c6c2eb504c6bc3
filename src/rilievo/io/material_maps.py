"""A mesh laid flat, with maps of its material: what textured files of any format are written from.

The surface is cut and laid flat by xatlas. Every texel that shows a face takes the material at its place on the
surface; the texels round the pieces repeat their nearest neighbour, so that no background shows at seams. Where the
mesh stands for a finer one, the place is that on the fine surface, and a normal map says how the surface is turned
there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from rilievo.errors import clear
from rilievo.geometry.mesh import TriMesh

from .material_tangents import in_tangent_space, unit, vertex_tangents
from .material_texels import Texels, covered_texels

MaterialFn = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Points of the surface [n, 3] → linear albedo [n, 3], metallic [n, 1], roughness [n, 1]."""
ReliefFn = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Points of a coarse mesh and its smooth unit normals there → points of the fine mesh, and the unit normals there."""

PIECE = 2500
"""Faces that are laid flat together: the time that xatlas takes for a piece grows faster than the piece."""
BLACK = (0.0, 0.0, 0.0)
FLAT = (0.5, 0.5, 1.0)
"""The normal of the mesh itself, as a colour."""


@dataclass(frozen=True)
class NormalMap:
    """How the surface is turned against a coarse mesh, in the frames of `material_tangents`."""

    picture: UInt8[np.ndarray, "s s 3"]
    """-1 to 1 as 0 to 255, the top row first."""
    tangents: Float[np.ndarray, "v 4"]
    """Of the mesh's vertices."""


@dataclass(frozen=True)
class MappedMesh:
    """A mesh whose vertices have places in square pictures; vertices on cuts come more than once."""

    mesh: TriMesh
    """With normals."""
    uv: Float[np.ndarray, "v 2"]
    """In [0, 1]², v upwards."""
    color: UInt8[np.ndarray, "s s 3"]
    """Base colour in sRGB, the top row first."""
    surface: UInt8[np.ndarray, "s s 3"]
    """Linear: 255, roughness, metallic."""
    normals: NormalMap | None = None
    """Of a mesh that stands for a finer one."""

    def moved(self, new_from_old: Float[np.ndarray, "4 4"]) -> MappedMesh:
        """In another frame, given the similarity to it."""
        moved = replace(self, mesh=self.mesh.transformed(new_from_old))
        if self.normals is None:
            return moved
        R = new_from_old[:3, :3] / np.cbrt(np.linalg.det(new_from_old[:3, :3]))
        turned = np.concatenate([self.normals.tangents[:, :3] @ R.T, self.normals.tangents[:, 3:]], -1)
        return replace(moved, normals=replace(self.normals, tangents=turned))


def mapped(mesh: TriMesh, material: MaterialFn, size: int, relief: ReliefFn | None = None) -> MappedMesh:
    """Lay a mesh flat and look its material up, in the mesh's own frame, texel by texel.

    `relief` finds the fine surface that the mesh stands for; the material is then that of the fine surface, and there
    is a normal map. Raises `UserError` for a mesh without faces, or where xatlas is missing.
    """
    vertices, faces, uv = unwrapped(mesh)
    flat = TriMesh(mesh.vertices[vertices], faces, mesh.vertex_normals[vertices].astype(np.float32))
    assert flat.normals is not None
    texels = covered_texels(faces, uv, size)
    points, normals = texels.interpolated(flat.vertices), None
    if relief is not None:
        upwards = unit(texels.interpolated(flat.normals))
        points, turned = relief(points, upwards)
        tangents = vertex_tangents(flat, uv)
        told = in_tangent_space(turned, upwards, texels.interpolated(tangents))
        normals = NormalMap(texels.picture(told / 2 + 0.5, FLAT), tangents)
    color, surface = _drawn(texels, *material(points.astype(np.float32)))
    return MappedMesh(flat, uv, color, surface, normals)


def unwrapped(
    mesh: TriMesh,
) -> tuple[Int[np.ndarray, "v"], Int[np.ndarray, "f 3"], Float[np.ndarray, "v 2"]]:
    """For each vertex of the flat pieces the vertex of the mesh it is; faces over these; their places in [0, 1]²."""
    try:
        import xatlas
    except ImportError as error:
        raise clear("texture maps", expected="the package xatlas", got="none", do="pip install xatlas") from error
    if len(mesh.faces) == 0:
        raise clear("textured mesh", expected="faces", got="none", do="extract the mesh again")
    atlas, kept = xatlas.Atlas(), []
    for piece in pieces(mesh.vertices[mesh.faces].mean(1), PIECE):
        used, local = np.unique(mesh.faces[piece], return_inverse=True)
        atlas.add_mesh(mesh.vertices[used].astype(np.float32), local.reshape(-1, 3).astype(np.uint32))
        kept.append(used)
    atlas.generate()
    vertices, faces, places, count = [], [], [], 0
    for i, used in enumerate(kept):
        corner, local, uv = atlas[i]
        vertices.append(used[corner])
        faces.append(local.astype(np.int64) + count)
        places.append(uv)
        count += len(corner)
    return np.concatenate(vertices), np.concatenate(faces), np.concatenate(places)


def pieces(centers: Float[np.ndarray, "f 3"], most: int) -> list[Int[np.ndarray, "_"]]:
    """Faces, given their centres, in groups of at most `most`: halved along the longest side until they are."""

    def halved(chosen: np.ndarray) -> list[np.ndarray]:
        if len(chosen) <= most:
            return [chosen]
        axis = np.ptp(centers[chosen], axis=0).argmax()
        ordered = chosen[np.argsort(centers[chosen, axis], kind="stable")]
        middle = len(ordered) // 2
        return halved(ordered[:middle]) + halved(ordered[middle:])

    return halved(np.arange(len(centers)))


def _drawn(
    texels: Texels, albedo: np.ndarray, metallic: np.ndarray, roughness: np.ndarray
) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s 3"]]:
    """The maps of colour and of surface."""
    import torch

    from rilievo.shading.color import linear_to_srgb

    color = linear_to_srgb(torch.from_numpy(albedo)).numpy()
    surface = np.concatenate([np.ones_like(metallic), roughness, metallic], axis=-1)
    return texels.picture(color, BLACK), texels.picture(surface, BLACK)
