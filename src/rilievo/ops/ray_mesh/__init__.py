"""Rays against a triangle mesh: what a ray meets first, and whether it meets anything.

A ray is an origin o and a direction d, which need not be unit; t is measured in lengths of d. A hit has 0 < t < t_max;
faces are met from both sides. Where a ray meets an edge, either face may be named.

`reference` tries every face, in torch. `embree` asks Intel's Embree (through embreex), in single precision, one thread
per call; t and the place on the face are then computed again in the precision of the rays, and differentiably by them,
which Embree's answers are not. A mesh on another device goes to the processor and the answers come back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from rilievo.errors import clear
from rilievo.ops.ray_mesh import embree
from rilievo.ops.ray_mesh.reference import plane_hits


@dataclass(frozen=True)
class Hits:
    """What each ray meets first."""

    t: Float[Tensor, "n"]
    """Infinite where it meets nothing."""
    face: Int64[Tensor, "n"]
    """-1 where it meets nothing."""
    barycentric: Float[Tensor, "n 3"]
    """Weights of the face's corners, adding to one; 0 where it meets nothing."""

    @property
    def hit(self) -> Bool[Tensor, "n"]:
        return self.face >= 0

    def interpolate(self, values: Float[Tensor, "v c"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "n c"]:
        """What is given at vertices, at the hits; 0 for rays without one."""
        corners = values[faces[self.face.clamp_min(0)].long()]
        return (self.barycentric.to(values.dtype)[..., None] * corners).sum(1)


class MeshTracer:
    """A mesh made ready for many rays."""

    def __init__(self, vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> None:
        """Build the tree: about two seconds per million faces.

        Raises `UserError` if there are no faces, a face names a vertex that is not there, or a corner is not finite.
        """
        _check(vertices, faces)
        self.vertices, self.faces = vertices.detach(), faces.long()
        self._scene = embree.build(self.vertices, self.faces)

    def first_hit(
        self,
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        t_max: Float[Tensor, "n"] | float = torch.inf,
    ) -> Hits:
        """The first face along each ray, in the dtype and on the device of `origins`."""
        face = embree.first_face(self._scene, origins.detach(), directions.detach(), t_max).to(origins.device)
        met = face >= 0
        t = origins.new_full((len(origins),), torch.inf)
        barycentric = origins.new_zeros(len(origins), 3)
        corners = self.vertices.to(origins)[self.faces.to(origins.device)[face[met]]]
        t_met, barycentric_met, _ = plane_hits(origins[met], directions[met], corners)
        return Hits(t.masked_scatter(met, t_met), face, barycentric.masked_scatter(met[:, None], barycentric_met))

    def occluded(
        self,
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        t_max: Float[Tensor, "n"] | float = torch.inf,
    ) -> Bool[Tensor, "n"]:
        """Whether each ray meets anything; faster than `first_hit`, since any face will do."""
        return embree.any_face(self._scene, origins.detach(), directions.detach(), t_max).to(origins.device)


def _check(vertices: Tensor, faces: Tensor) -> None:
    named = faces.long()
    missing = bool(len(faces)) and (int(named.min()) < 0 or int(named.max()) >= len(vertices))
    if len(faces) and not missing and bool(vertices[named].isfinite().all()):
        return
    if missing:
        got = f"faces that name vertex {int(named.max())} of {len(vertices)}"
    else:
        got = "corners that are not finite" if len(faces) else "0 faces"
    raise clear(
        "mesh to trace rays against",
        expected="at least one face, each of three finite vertices",
        got=got,
        do="check that the mesh was extracted and loaded whole",
    )
