"""Ways to lead a camera round a scene for a video.

`orbit` and `spiral` follow how the scene was photographed; `sphere_circle` and `sphere_arc` are the two trajectories
on a sphere about the origin that published neural surface code renders after training (Wang et al.'s NeuS and its
descendants).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.orientation import look_at, up_direction


def follow(world_from_cam: Float64[Tensor, "n 4 4"], lens: Cameras) -> Cameras:
    """Pinhole cameras at these poses, with K and picture size of the first camera of `lens`."""
    n = len(world_from_cam)
    return Cameras.pinhole(world_from_cam, lens.K[:1].repeat(n, 1, 1), lens.sizes_px[:1].repeat(n, 1))


def orbit(
    cameras: Cameras, center: Float64[Tensor, "3"], steps: int, up: Float64[Tensor, "3"] | None = None
) -> Cameras:
    """One turn about the vertical through `center`, as from a turntable, at the photos' median distance and height.

    It starts where the first photo was taken and ends one step before, so that a video of it loops. `up` is estimated
    (`up_direction`) unless given.
    """
    up = up_direction(cameras) if up is None else up / torch.linalg.vector_norm(up)
    offsets = cameras.centers - center
    heights = offsets @ up
    flat = offsets - heights[:, None] * up
    radius, height = torch.linalg.vector_norm(flat, dim=-1).median(), heights.median()
    if radius < 0.1 * height.abs():  # photos from straight above: tilt until the orbit has some width
        distance = torch.hypot(radius, height)
        radius, height = 0.5 * distance, math.sqrt(0.75) * distance * height.sign()
    start = _perpendicular(flat[0], up)
    angles = torch.arange(steps).to(up) * (2 * math.pi / steps)
    side = torch.linalg.cross(up, start)
    circle = torch.cos(angles)[:, None] * start + torch.sin(angles)[:, None] * side
    return follow(look_at(center + radius * circle + height * up, center, up), cameras)


def spiral(cameras: Cameras, center: Float64[Tensor, "3"], steps: int, turns: float = 2.0) -> Cameras:
    """A swaying look from the middle of the photos, for captures from one side (Mildenhall et al. 2019, LLFF).

    The eye runs through an ellipse as wide as nine tenths of the photos' places, moving back and forth once, and keeps
    looking at the point straight ahead that is as far away as `center`.
    """
    middle, up = cameras.centers.mean(0), up_direction(cameras)
    forward = cameras.forwards.mean(0)
    frame = look_at(middle[None], middle + forward, up)[0, :3, :3]
    reach = torch.quantile(((cameras.centers - middle) @ frame).abs(), 0.9, dim=0)
    focus = middle + frame[:, 2] * torch.linalg.vector_norm(center - middle)
    phase = torch.arange(steps).to(reach) * (2 * math.pi / steps)
    sway = torch.stack((torch.cos(turns * phase), -torch.sin(turns * phase), -torch.sin(phase)), dim=-1)
    return follow(look_at(middle + (sway * reach) @ frame.mT, focus, up), cameras)


def sphere_circle(centers: Float64[Tensor, "n 3"], steps: int) -> Float64[Tensor, "steps 4 4"]:
    """Poses on a circle about the z axis, looking at the origin, at the cameras' mean distance and mean height.

    `centers` are in a frame where the object is at the origin and z is up. First and last pose are the same.
    """
    distance, height = torch.linalg.vector_norm(centers, dim=-1).mean(), centers[:, 2].mean()
    radius = (distance**2 - height**2).sqrt()
    angles = torch.linspace(0, 2 * math.pi, steps, dtype=centers.dtype, device=centers.device)
    eyes = torch.stack((radius * torch.cos(angles), radius * torch.sin(angles), height.expand(steps)), dim=-1)
    return look_at(eyes, torch.zeros_like(eyes[0]), eyes.new_tensor([0, 0, 1]))


def sphere_arc(
    centers: Float64[Tensor, "n 3"], steps: int, axis: Float64[Tensor, "3"] | None = None
) -> Float64[Tensor, "steps 4 4"]:
    """Poses swinging past the mean camera, as far to both sides as the outermost camera, looking at the origin.

    The swing is about `axis`, the pictures' up direction; by default the axis along which the centres vary least about
    the origin, towards which the swing's sign is arbitrary.
    """
    axis = torch.linalg.eigh(centers.mT @ centers)[1][:, 0] if axis is None else axis / torch.linalg.vector_norm(axis)
    middle = centers.mean(0)
    cosines = torch.nn.functional.cosine_similarity(centers, middle[None], dim=-1)
    widest = torch.acos(cosines.clamp(-1, 1)).max()
    angles = torch.linspace(-1, 1, steps, dtype=centers.dtype, device=centers.device)[:, None] * widest
    eyes = middle * torch.cos(angles) + torch.linalg.cross(axis, middle) * torch.sin(angles)
    return look_at(eyes, torch.zeros_like(middle), axis)


def _perpendicular(wanted: Tensor, axis: Tensor) -> Tensor:
    """Unit vector across `axis`, along `wanted` where that is possible."""
    if torch.linalg.vector_norm(wanted) < 1e-9:
        wanted = torch.zeros_like(axis)
        wanted[axis.abs().argmin()] = 1
    across = wanted - (wanted @ axis) * axis
    return across / torch.linalg.vector_norm(across)
