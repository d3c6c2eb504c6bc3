"""A function of the plane, tabulated where it is asked for: evaluated on a fixed square lattice, linear between nodes.

Points of a depth map crowd: a hundred thousand of them lie in some ten thousand cells. Only the corners of occupied
cells are computed, each once. The lattice is fixed in space (nodes at whole multiples of `spacing`), so the tabulated
function does not depend on which points ask, and a map built on it can be inverted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

REACH = 2**20
"""Points are kept within this many cells of the origin; beyond, all of them share the outermost cell."""


def tabulated(
    function: Callable[[Float[Tensor, "m 2"]], Float[Tensor, "m c"]], at: Float[Tensor, "n 2"], spacing: float
) -> Float[Tensor, "n c"]:
    """Bilinear interpolation of `function` between lattice nodes; differentiable in its parameters and in `at`."""
    scaled = at / spacing
    corner = scaled.detach().floor().clamp(-REACH, REACH - 1)
    share = scaled - corner
    column, row = corner.long().unbind(-1)
    stride = 2 * REACH + 2
    first = (column + REACH) * stride + (row + REACH)
    asked = torch.stack((first, first + 1, first + stride, first + stride + 1))  # [4, n]: (0,0) (0,1) (1,0) (1,1)
    keys, which = torch.unique(asked, return_inverse=True)
    nodes = torch.stack((keys // stride - REACH, keys % stride - REACH), dim=-1).to(at.dtype) * spacing
    values = function(nodes).index_select(0, which.flatten()).view(4, len(at), -1)
    u, v = share.unbind(-1)
    weights = torch.stack(((1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v))
    return (weights[..., None] * values).sum(0)
