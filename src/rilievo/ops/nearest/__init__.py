"""Nearest point of a triangle mesh: the distance from a point to a surface, exactly.

For every query point: the distance to the surface, the surface point, the face it lies on and its barycentric
coordinates there, which interpolate anything given at the vertices. Where several faces are equally near (a shared
edge), any of them may be named.

`reference` tries every face, in torch. `cpu` searches a tree of bounding boxes, in Numba, in double precision; tensors
on other devices are brought to the processor and the answer is taken back. Nothing here is differentiable: to descend
on a distance, use `point` as a constant (the gradient of the distance is the unit vector away from it).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from rilievo.errors import clear
from rilievo.ops.nearest import cpu
from rilievo.ops.threading import array


@dataclass(frozen=True)
class Nearest:
    """What is nearest to each query point."""

    distance: Float[Tensor, "n"]
    point: Float[Tensor, "n 3"]
    face: Int64[Tensor, "n"]
    barycentric: Float[Tensor, "n 3"]
    """Weights of the face's three corners; they are not negative and add to one."""


class SurfaceTree:
    """A mesh made ready for many queries."""

    def __init__(self, vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> None:
        """Build the tree: about a second per million faces.

        Raises UserError if there are no faces, or a corner is not finite.
        """
        corners = vertices.double().cpu()[faces.long().cpu()]
        finite = bool(corners.isfinite().all())
        if not len(corners) or not finite:
            raise clear(
                "surface to measure distances to",
                expected="at least one face and finite vertices",
                got=f"{len(corners)} faces" + (", some with corners that are not finite" if not finite else ""),
                do="check that the mesh was extracted and loaded whole",
            )
        self._tree = cpu.build(array(corners))

    def nearest(self, points: Float[Tensor, "n 3"]) -> Nearest:
        """Nearest surface points, in the dtype and on the device of `points`."""
        distance, face, barycentric, point = (
            torch.from_numpy(a).to(points.device) for a in cpu.query(*self._tree, array(points.double().cpu()))
        )
        return Nearest(distance.to(points.dtype), point.to(points.dtype), face, barycentric.to(points.dtype))


def nearest_on_surface(
    points: Float[Tensor, "n 3"], vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]
) -> Nearest:
    """Nearest points of a surface asked once; keep a `SurfaceTree` to ask again."""
    return SurfaceTree(vertices, faces).nearest(points)
