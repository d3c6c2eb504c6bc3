"""Mirror reflection of a direction about a normal."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def dot(a: Float[Tensor, "*#points d"], b: Float[Tensor, "*#points d"]) -> Float[Tensor, "*out 1"]:
    """a · b with the last dimension kept, ready to scale a vector."""
    return (a * b).sum(-1, keepdim=True)


def reflect(view_dirs: Float[Tensor, "*#points 3"], normals: Float[Tensor, "*#points 3"]) -> Float[Tensor, "*out 3"]:
    """2 (v·n) n - v: where a mirror sends the ray that leaves towards the eye along v; n is unit."""
    return 2 * dot(view_dirs, normals) * normals - view_dirs
