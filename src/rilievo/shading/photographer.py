"""The photographer, whom a shiny object reflects: a light on a plane that goes with the camera (NeRO, section 3.3).

The photographer stands upright at the camera, so the plane is vertical and faces along the horizontal part of the view.
In its frame, x is to the right, y down (-z of the world) and z the horizontal viewing direction; the origin is the
camera, brought down to the height of the object unless the camera was fixed. A reflected ray meets the plane z = 0 at
(x, y), blurred by roughness and distance; what it meets there is encoded by integrated sines (mip-NeRF,
arXiv:2103.13415, eq. 14)

    γ(μ, σ²) = exp(-4^k σ² / 2) sin(2^k μ + {0, π/2}),   k = 0 … 5.

World z is up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

PARALLEL = 1e-4
"""Rays whose direction has a smaller part across the plane never meet it."""
REACH = 1.5
"""Half extent, after scaling, outside which there is nobody."""
SCALE = 0.3
"""Plane coordinates in units of the encoding."""
OCTAVES = 6


def photographer_frame(cam_from_world: Float[Tensor, "n 3 4"], *, fixed_camera: bool = False) -> Float[Tensor, "n 3 4"]:
    """From the world to the photographer's frame, for each camera (x right, y down, z forward).

    The published cross product runs over the wrong axis for batches of exactly three cameras; this one does not.
    """
    R, t = cam_from_world[..., :3], cam_from_world[..., 3:]
    center = -(R.mT @ t)[..., 0]
    if not fixed_camera:
        center = center * center.new_tensor([1.0, 1.0, 0.0])
    down = center.new_tensor([0.0, 0.0, -1.0]).expand_as(center)
    forward = F.normalize(R[:, 2] * center.new_tensor([1.0, 1.0, 0.0]), dim=-1)
    axes = torch.stack([torch.linalg.cross(down, forward, dim=-1), down, forward], 1)
    return torch.cat([axes, -axes @ center[..., None]], -1)


@dataclass(frozen=True)
class PlaneHit:
    """Where rays meet the photographer's plane."""

    point: Float[Tensor, "n 3"]
    """In the photographer's frame, z = 0."""
    distance: Float[Tensor, "n"]
    """Along the ray, negative behind it."""
    crosses: Bool[Tensor, "n"]
    """False for rays along the plane, whose point means nothing."""


def meet_plane(
    points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], frame_from_world: Float[Tensor, "n 3 4"]
) -> PlaneHit:
    """Follow rays to the plane; directions along it are given a slope of 1e-4, as published, to keep numbers finite."""
    R, t = frame_from_world[..., :3], frame_from_world[..., 3]
    start = (R @ points[..., None])[..., 0] + t
    heading = (R @ directions[..., None])[..., 0]
    crosses = heading[:, 2].abs() > PARALLEL
    slope = torch.where(crosses, heading[:, 2], PARALLEL)
    heading = torch.cat([heading[:, :2], slope[:, None]], -1)
    distance = -start[:, 2] / slope
    return PlaneHit(start + distance[:, None] * heading, distance, crosses)


def integrated_sines(
    mean: Float[Tensor, "n d"], variance: Float[Tensor, "n d"], octaves: int = OCTAVES
) -> Float[Tensor, "n features"]:
    """Expected sines and cosines of a Gaussian: all sines octave by octave, then all cosines."""
    scale = 2.0 ** torch.arange(octaves, dtype=mean.dtype, device=mean.device)
    phase = (mean[:, None] * scale[:, None]).flatten(1)
    blur = (variance[:, None] * scale[:, None].square()).flatten(1)
    waves = torch.cat([phase, phase + math.pi / 2], -1).sin()
    return waves * torch.exp(-0.5 * torch.cat([blur, blur], -1))


def encode_plane(
    hit: PlaneHit, roughness: Float[Tensor, "n 1"]
) -> tuple[Float[Tensor, "n features"], Float[Tensor, "n 1"]]:
    """Features of what each ray meets, and 1 where it can be the photographer (ahead, within reach), else 0."""
    mean = hit.point[:, :2] * SCALE
    meets = hit.crosses & (mean.norm(dim=-1) < REACH) & (hit.distance > 0)
    meets = meets.to(mean.dtype)[:, None]
    variance = roughness * (hit.distance[:, None] * SCALE).square()
    return integrated_sines(mean * meets, (variance * meets).expand_as(mean)), meets
