"""A mesh laid flat, with maps of its material: what textured files of any format are written from.

The surface is cut and laid flat by xatlas. Every texel that shows a face takes the material at its place on the
surface; the texels round the pieces repeat their nearest neighbour, so that no background shows at seams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from rilievo.errors import clear
from rilievo.geometry.mesh import TriMesh

MaterialFn = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Points of the surface [n, 3] → linear albedo [n, 3], metallic [n, 1], roughness [n, 1]."""

TEXTURE = 1024
"""Side of the maps in pixels."""
PIECE = 2500
"""Faces that are laid flat together: the time that xatlas takes for a piece grows faster than the piece."""
BLEED = 4
"""Texels by which pieces are continued."""


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

    def moved(self, new_from_old: Float[np.ndarray, "4 4"]) -> MappedMesh:
        return MappedMesh(self.mesh.transformed(new_from_old), self.uv, self.color, self.surface)


def mapped(mesh: TriMesh, material: MaterialFn, size: int = TEXTURE) -> MappedMesh:
    """Lay a mesh flat and look its material up, in the mesh's own frame, texel by texel.

    Raises `UserError` for a mesh without faces, or where xatlas is missing.
    """
    vertices, faces, uv = unwrapped(mesh)
    color, surface = baked(mesh.vertices[vertices], faces, uv, material, size)
    flat = TriMesh(mesh.vertices[vertices], faces, mesh.vertex_normals[vertices].astype(np.float32))
    return MappedMesh(flat, uv, color, surface)


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


def baked(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    uv: Float[np.ndarray, "v 2"],
    material: MaterialFn,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The two maps as 8-bit pictures, the top row at v = 1."""
    import torch

    from rilievo.shading.color import linear_to_srgb

    points, shown = texel_points(vertices, faces, uv, size)
    albedo, metallic, roughness = material(points[shown].astype(np.float32))
    color, surface = np.zeros((size, size, 3)), np.zeros((size, size, 3))
    color[shown] = linear_to_srgb(torch.from_numpy(albedo)).numpy()
    surface[shown] = np.concatenate([np.ones_like(metallic), roughness, metallic], axis=-1)
    both = _continued(np.concatenate([color, surface], -1), shown)
    pictures = (both.clip(0, 1) * 255 + 0.5).astype(np.uint8)[::-1]
    return np.ascontiguousarray(pictures[..., :3]), np.ascontiguousarray(pictures[..., 3:])


def texel_points(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], uv: Float[np.ndarray, "v 2"], size: int
) -> tuple[Float[np.ndarray, "s s 3"], Bool[np.ndarray, "s s"]]:
    """Where on the surface the centre of each texel lies, and which texels show any; row 0 is at v = 0."""
    points, shown = np.zeros((size, size, 3)), np.zeros((size, size), bool)
    corners = uv[faces].astype(np.float64) * size - 0.5  # in texels, [f, 3, 2]
    low = np.ceil(corners.min(1) - 1e-9).clip(0).astype(int)
    high = np.floor(corners.max(1) + 1e-9).clip(max=size - 1).astype(int)
    extent = (high - low + 1).clip(0)
    owner = np.repeat(np.arange(len(faces)), extent.prod(1))
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(extent.prod(1)) - extent.prod(1), extent.prod(1))
    x = low[owner, 0] + rank % extent[owner, 0]
    y = low[owner, 1] + rank // extent[owner, 0]
    weights = _barycentric(corners[owner], np.stack([x, y], -1))
    inside = (weights >= -1e-6).all(-1)
    x, y, weights, owner = x[inside], y[inside], weights[inside], owner[inside]
    points[y, x] = (vertices[faces[owner]] * weights[..., None]).sum(1)
    shown[y, x] = True
    return points, shown


def _barycentric(corners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Weights of three corners [n, 3, 2] at places [n, 2]; not finite for a corner triangle without area."""
    a, b, c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = places - a
    area = b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0]
    area = np.where(area == 0, np.inf, area)
    beta = (p[:, 0] * c[:, 1] - p[:, 1] * c[:, 0]) / area
    gamma = (b[:, 0] * p[:, 1] - b[:, 1] * p[:, 0]) / area
    return np.stack([1 - beta - gamma, beta, gamma], -1)


def _continued(picture: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The picture with what it shows continued into the gaps by the nearest texel, `BLEED` texels far."""
    from scipy.ndimage import distance_transform_edt

    distance, nearest = distance_transform_edt(~shown, return_indices=True)
    return np.where((distance <= BLEED)[..., None], picture[nearest[0], nearest[1]], picture)
