"""The known surface: where rays meet it first, and how it is turned there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.geometry.mesh import TriMesh
from rilievo.ops.ray_mesh import MeshTracer
from rilievo.shading.traced_light import Meeting

LIFT = 2e-3
"""How far rays start above the surface, in region radii: smooth normals lean over flat faces."""
FAR = 10.0
"""Distance of what is not met."""


class KnownSurface:
    """A mesh with smooth normals, ready for rays."""

    def __init__(self, mesh: TriMesh) -> None:
        self.mesh = mesh
        self.tracer = MeshTracer(torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces).long())
        self.vertex_normals = torch.from_numpy(mesh.vertex_normals).float()
        self.face_normals = torch.from_numpy(mesh.face_normals).float()

    def meet(self, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]) -> Meeting:
        """The first point on each ray, with the unit normal of the side that is met; misses have normal 0."""
        hits = self.tracer.first_hit(origins, directions)
        faces = self.tracer.faces.to(origins.device)
        normals = F.normalize(hits.interpolate(self.vertex_normals.to(origins), faces), dim=-1)
        flat = self.face_normals.to(origins)[hits.face.clamp_min(0)]
        normals = torch.where((flat * directions).sum(-1, keepdim=True) > 0, -normals, normals)
        distance = torch.where(hits.hit, hits.t, FAR)[:, None]
        return Meeting(origins + distance * directions, normals, distance, hits.hit)

    def blocked(self, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]) -> Bool[Tensor, "n"]:
        """Whether rays meet anything."""
        return self.tracer.occluded(origins, directions)


def lifted(points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Points a little above the surface, where rays to the light start."""
    return points + LIFT * normals


def facing(normals: Float[Tensor, "n 3"], view_dirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Unit normals, tilted as little as needed for the eye to see them: smooth normals lean away at silhouettes."""
    below = ((normals * view_dirs).sum(-1, keepdim=True) - GRAZING).clamp(max=0)
    return F.normalize(normals - below * view_dirs, dim=-1)


GRAZING = 0.05
