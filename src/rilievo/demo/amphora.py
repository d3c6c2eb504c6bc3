"""The demo's object: a stoppered amphora of blended balls and rings, fluted and grooved, painted by a solid texture.

`sdf` is negative inside and at most as large as the true distance, up to the factor `LIPSCHITZ`, since blending and
relief bend it. z is up; the object stays within the ball of radius `RADIUS` around the origin.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

RADIUS = 0.88
LIPSCHITZ = 1.1

_CLAY = (0.55, 0.21, 0.10)
_IVORY = (0.80, 0.70, 0.50)
_INK = (0.05, 0.09, 0.20)


def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Signed distance to the amphora, nearly."""
    x, y, z = points.unbind(-1)
    rho = torch.sqrt(x * x + y * y + 1e-12)
    belly = torch.sqrt(rho**2 + (z + 0.12) ** 2) - 0.60
    neck = _ring(rho, z - 0.46, 0.10, 0.10)
    stopper = torch.sqrt(rho**2 + (z - 0.68) ** 2) - 0.17
    foot = _ring(rho, z + 0.72, 0.22, 0.09)
    handle = _ring(torch.sqrt((x.abs() - 0.44) ** 2 + (z - 0.24) ** 2 + 1e-12), y, 0.26, 0.075)
    body = _union(_union(_union(belly, neck, 0.16), foot, 0.10), handle, 0.06)
    turns = torch.atan2(y, x) * 10 + z * 7
    flutes = 0.018 * torch.sin(turns) * torch.exp(-((z + 0.42) ** 2) / 0.02) * (rho / (rho + 0.1))
    grooved = _carve(body + flutes, _ring(rho, z + 0.20, 0.60, 0.035), 0.03)
    return _union(grooved, stopper, 0.03)


def normals(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Unit outward normals: the gradient by differences at the corners of a small tetrahedron."""
    step = 1e-3
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    slope = sum(corner * sdf(points + step * corner)[:, None] for corner in corners)
    return torch.nn.functional.normalize(torch.as_tensor(slope), dim=-1)


def albedo(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Linear RGB reflectance: bands of ivory and clay, veined with ink."""
    x, y, z = points.unbind(-1)
    bands = torch.sigmoid(6 * torch.sin(9 * z + 0.9 * torch.sin(5 * x) + 0.9 * torch.sin(5 * y + 1)))
    veins = torch.sin(7 * x + 2 * torch.sin(6 * y)) * torch.sin(7 * y + 2 * torch.sin(6 * z)) * torch.sin(7 * z + 2 * x)
    ink = torch.sigmoid(18 * (veins - 0.30))
    clay, ivory, dark = (points.new_tensor(c) for c in (_CLAY, _IVORY, _INK))
    base = torch.lerp(clay.expand_as(points), ivory, bands[:, None])
    return torch.lerp(base, dark, ink[:, None])


def _ring(radial: Tensor, axial: Tensor, radius: float, thickness: float) -> Tensor:
    return torch.sqrt((radial - radius) ** 2 + axial**2 + 1e-12) - thickness


def _union(a: Tensor, b: Tensor, blend: float) -> Tensor:
    """Smooth minimum, rounded within `blend` of where the two are equal (Quilez's polynomial)."""
    near = (blend - (a - b).abs()).clamp_min(0) / blend
    return torch.minimum(a, b) - near**2 * blend / 4


def _carve(a: Tensor, b: Tensor, blend: float) -> Tensor:
    """`a` without `b`, the edges rounded."""
    return -_union(-a, b, blend)
