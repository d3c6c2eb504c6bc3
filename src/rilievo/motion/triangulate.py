"""Depth of static pixels from flow between posed frames: where the two rays of a match come closest.

With camera centres o, p and unit rays d, e of a pixel and of its match, the depths s, t along them that bring the
points nearest solve a 2x2 system whose determinant is sin² of the angle between the rays. A match on something that
moves leaves its epipolar line; what is left is trusted where the rays are far enough from parallel, both points lie in
front, and the matched point projects within a pixel of where flow said.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.motion.lift import index_grid

LEAST_ANGLE_RAD = 0.01
WITHIN_PX = 1.0


def triangulated_depth(
    cameras: Cameras, i: int, j: int, flow: Float[Tensor, "h w 2"], believed: Bool[Tensor, "h w"]
) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Depth along camera i's z axis of the pixels of frame i, and where to trust it; `flow` leads to frame j.

    Pixels outside `believed` (dynamic ones too, where a mask is known) are not trusted.
    """
    height, width = flow.shape[:2]
    begin = (index_grid(height, width, flow.double()) + 0.5).reshape(-1, 2)
    end = begin + flow.double().reshape(-1, 2)
    which = torch.zeros(len(begin), dtype=torch.int64)
    first, second = (cameras.rays(which + k, at, torch.float64) for k, at in ((i, begin), (j, end)))
    d, e, apart = first.directions, second.directions, second.origins - first.origins
    cos = (d * e).sum(-1)
    sin_squared = (1 - cos**2).clamp_min(1e-12)
    along, other = (apart * d).sum(-1), (apart * e).sum(-1)
    s, t = (along - cos * other) / sin_squared, (cos * along - other) / sin_squared
    point = first.origins + s[:, None] * d
    pixels, _ = cameras.project(j, point)
    trusted = (sin_squared > LEAST_ANGLE_RAD**2) & (s > 0) & (t > 0) & ((pixels - end).norm(dim=-1) < WITHIN_PX)
    depth = s * (d * cameras.forwards[i]).sum(-1)
    return depth.view(height, width).to(flow), trusted.view(height, width) & believed
