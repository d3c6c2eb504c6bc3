"""Confidence taken from points that float in front of what a more confident photo sees (DUSt3R's clean_pointcloud).

A point that photo j would see nearer than its own surface at that pixel hides that surface; one of the two is wrong,
and the less confident gives way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.errors import clear
from rilievo.geometry import se3


def clean_pointcloud(
    confidence: Sequence[Float[Tensor, "_h _w"]],
    K: Float[Tensor, "n 3 3"],
    world_from_cam: Float[Tensor, "n 4 4"],
    depth: Sequence[Float[Tensor, "_h _w"]],
    points: Sequence[Float[Tensor, "_h _w 3"]],
    *,
    tolerance: float = 0.001,
    bad: float = 0.0,
) -> list[Float[Tensor, "_h _w"]]:
    """The confidences, at most `bad` where a point is nearer to a camera than (1 − tolerance) times the depth there.

    `K` counts pixel centres at +0.5, `depth` is along camera z, `points` are in the world. Views are treated in order,
    and a photo that lost confidence in a pixel no longer outweighs others there. Raises `UserError` for a tolerance
    outside [0, 1).
    """
    if not 0 <= tolerance < 1:
        raise clear("tolerance", expected="a fraction from 0 to below 1", got=str(tolerance), do="try 0.001")
    cleaned = [C.clone() for C in confidence]
    cam_from_world = se3.inverse(world_from_cam)
    for i, X in enumerate(points):
        for j in range(len(points)):
            if i != j:
                floats = _in_front(X, cleaned[i], cam_from_world[j], K[j], cleaned[j], depth[j], tolerance)
                cleaned[i] = torch.where(floats, cleaned[i].clamp_max(bad), cleaned[i])
    return cleaned


def _in_front(
    X: Tensor, C: Tensor, cam_from_world: Tensor, K: Tensor, C_seen: Tensor, depth: Tensor, tolerance: float
) -> Tensor:
    """Which points X [h w 3] of one view hide more confident pixels of another."""
    h, w = depth.shape
    in_cam = X @ cam_from_world[:3, :3].mT.to(X) + cam_from_world[:3, 3].to(X)
    z = in_cam[..., 2]
    ahead = z > 0
    image = in_cam @ K.mT.to(X)
    index = (image[..., :2] / torch.where(ahead, z, 1)[..., None] - 0.5).round()
    column, row = index.unbind(-1)
    inside = ahead & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    flat = torch.where(inside, row * w + column, 0).long()
    return inside & (z < (1 - tolerance) * depth.flatten()[flat]) & (C_seen.flatten()[flat] > C)
