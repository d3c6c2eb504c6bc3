"""Pixels with depth as points of the world, and the points that flow leads to in another frame.

A pixel (column c, row r) has its centre at (c + ½, r + ½); its point is K⁻¹ (c + ½, r + ½, 1) · depth, taken to the
world. The point that flow (u, v) leads to is read from the other frame's map of world points between its pixels
(bilinearly, at index coordinates (c + u, r + v)). It counts where it falls inside the picture, the flow is believed,
and every pixel it was read from has depth: between a surface and a hole there is no point.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.flow.sampling import index_grid, sample

WHOLE = 1 - 1e-5
"""Share of the interpolation that must fall on pixels with depth."""


@dataclass(frozen=True)
class PointMap:
    """A frame's depth as points."""

    xyz: Float[Tensor, "h w 3"]
    """World positions; the camera's centre where there is no depth."""
    known: Bool[Tensor, "h w"]
    """Where there is depth."""


def point_map(depth: Float[Tensor, "h w"], K: Float[Tensor, "3 3"], world_from_cam: Float[Tensor, "4 4"]) -> PointMap:
    """World points of a depth map (z along the optical axis; 0, negative and NaN mean unknown), in depth's dtype."""
    known = depth.isfinite() & (depth > 0)
    z = torch.where(known, depth, 0)
    centers = index_grid(depth.shape[0], depth.shape[1], depth) + 0.5
    rays = torch.cat((centers, torch.ones_like(z)[..., None]), dim=-1) @ torch.linalg.inv(K.double()).mT.to(depth)
    pose = world_from_cam.to(depth)
    return PointMap((rays * z[..., None]) @ pose[:3, :3].mT + pose[:3, 3], known)


@dataclass(frozen=True)
class Targets:
    """Where the points of one frame are in another."""

    xyz: Float[Tensor, "h w 3"]
    valid: Bool[Tensor, "h w"]


def targets(other: PointMap, flow: Float[Tensor, "h w 2"], believed: Bool[Tensor, "h w"] | None = None) -> Targets:
    """Points of the `other` frame at the ends of `flow`."""
    height, width = flow.shape[:2]
    end = index_grid(height, width, flow) + flow
    xyz = sample(other.xyz, end, outside="border")
    covered = sample(other.known[..., None].to(flow), end, outside="border")[..., 0]
    within = (end >= 0).all(-1) & (end[..., 0] < width) & (end[..., 1] < height)
    valid = within & (covered > WHOLE)
    return Targets(xyz, valid if believed is None else valid & believed)
