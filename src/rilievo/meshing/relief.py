"""What a coarse mesh leaves out of a fine one: for a place on the coarse, the place on the fine, and its normal.

From a point p of the coarse mesh with its smooth normal n, the fine surface is looked for along n and along -n, and the
nearer place that faces the way of n is taken. Smooth normals have no jumps, so neither has what is found. Where no such
place is within reach (beyond a border, or in a fold that the coarse mesh lost), it is the nearest one of all.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.geometry.mesh import TriMesh
from rilievo.ops.nearest import SurfaceTree
from rilievo.ops.ray_mesh import Hits, MeshTracer


class Relief:
    """A fine mesh, to be found from a coarse one."""

    def __init__(self, fine: TriMesh, coarse: TriMesh) -> None:
        """Make the fine mesh ready. The reach is a coarse edge: a surface that strays farther has lost its shape."""
        self.fine = fine
        self.reach = float(np.linalg.norm(np.roll(coarse.corners, -1, axis=1) - coarse.corners, axis=-1).mean())
        self._vertices = torch.from_numpy(np.asarray(fine.vertices, np.float64))
        self._faces = torch.from_numpy(fine.faces.astype(np.int64))
        self._face_normals = torch.from_numpy(fine.face_normals)
        self._vertex_normals = torch.from_numpy(fine.vertex_normals)
        self._tracer = MeshTracer(self._vertices, self._faces)

    def __call__(
        self, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
        """Places on the fine mesh for points on the coarse one with unit normals, and the smooth unit normals there."""
        origins, outwards = torch.from_numpy(points).double(), torch.from_numpy(normals).double()
        above = self._tracer.first_hit(origins, outwards, self.reach)
        below = self._tracer.first_hit(origins, -outwards, self.reach)
        height, depth = self._facing(above, outwards), self._facing(below, outwards)
        higher = height < depth
        face = torch.where(higher, above.face, below.face)
        weights = torch.where(higher[:, None], above.barycentric, below.barycentric)
        missed = torch.minimum(height, depth).isinf()
        if bool(missed.any()):
            nearest = SurfaceTree(self._vertices, self._faces).nearest(origins[missed])
            face[missed], weights[missed] = nearest.face, nearest.barycentric
        corners = self._faces[face]
        there = (weights[..., None] * self._vertices[corners]).sum(1)
        turned = (weights[..., None] * self._vertex_normals[corners]).sum(1)
        return there.numpy(), torch.nn.functional.normalize(turned, dim=-1).numpy()

    def _facing(self, hits: Hits, outwards: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """How far each hit is; infinite for none, and for one on a face that looks the other way."""
        looks = (self._face_normals[hits.face.clamp_min(0)] * outwards).sum(-1) > 0
        return hits.t.where(looks & hits.hit, torch.inf)
