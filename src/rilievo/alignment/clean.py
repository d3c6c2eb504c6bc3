"""Confidence cleaning: points that float before surfaces which other photos are surer of lose their confidence.

A pixel's point is bad if some other camera sees it clearly nearer than its own surface there and is surer of that
surface (DUSt3R, Wang et al. 2024, arXiv:2312.14132, published code).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.geometry import se3


def cleaned_confidence(
    confidence: Sequence[Float[Tensor, "_h _w"]],
    K: Float[Tensor, "n 3 3"],
    world_from_cam: Float[Tensor, "n 4 4"],
    depth: Sequence[Float[Tensor, "_h _w"]],
    points: Sequence[Float[Tensor, "_h _w 3"]],
    tolerance: float = 0.001,
    bad: float = 0.0,
) -> list[Float[Tensor, "_h _w"]]:
    """Confidences, at most `bad` where a point stands in the way of a surer surface.

    K counts pixels from the centre of the top left one, and points belong to the nearest pixel. `tolerance` is the
    share of depth by which a point must stand before a surface. Views are cleaned one after another: what the first
    lost no longer speaks against the others.
    """
    result = [part.clone() for part in confidence]
    cam_from_world = se3.inverse(world_from_cam)
    for i, of_view in enumerate(points):
        for j in range(len(points)):
            if i == j:
                continue
            in_cam = of_view @ cam_from_world[j, :3, :3].mT + cam_from_world[j, :3, 3]
            z = in_cam[..., 2]
            front = torch.where(z > 0, z, 1)
            flat = in_cam @ K[j].mT
            column, row = (flat[..., 0] / front).round(), (flat[..., 1] / front).round()
            height, width = depth[j].shape
            seen = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            u, v = torch.where(seen, column, 0).long(), torch.where(seen, row, 0).long()
            in_the_way = seen & (z < (1 - tolerance) * depth[j][v, u]) & (result[i] < result[j][v, u])
            result[i] = torch.where(in_the_way, result[i].clamp_max(bad), result[i])
    return result
