"""Where cameras look and which way is up."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.geometry import se3


def look_at(
    eyes: Float64[Tensor, "n 3"], target: Float64[Tensor, "#n 3"] | Float64[Tensor, "3"], up: Float64[Tensor, "3"]
) -> Float64[Tensor, "n 4 4"]:
    """world_from_cam of cameras at `eyes` that see `target` in the middle of the picture and `up` upwards in it.

    A camera that looks along `up` itself is turned about its axis in some fixed way.
    """
    forward = _unit(target - eyes)
    right = torch.linalg.cross(forward, up.expand_as(forward))
    other = torch.zeros_like(up)
    other[up.abs().argmin()] = 1
    aside = torch.linalg.cross(forward, other.expand_as(forward))
    along_up = torch.linalg.vector_norm(right, dim=-1, keepdim=True) < 1e-9 * torch.linalg.vector_norm(up)
    right = _unit(torch.where(along_up, aside, right))
    down = torch.linalg.cross(forward, right)
    return se3.compose(torch.stack((right, down, forward), dim=-1), eyes)


def up_direction(cameras: Cameras) -> Float64[Tensor, "3"]:
    """Unit up direction of the world, as far as the way the cameras were held tells it.

    People keep the horizon level: the cameras' x axes then lie in one plane, however the cameras are tilted, and its
    normal is the answer. Where they do not span a plane, or fill all directions (portrait and landscape mixed), it is
    the mean of the cameras' own up directions.
    """
    rights, ups = cameras.world_from_cam[:, :3, 0], -cameras.world_from_cam[:, :3, 1]
    spread, axes = torch.linalg.eigh(rights.mT @ rights / max(len(rights), 1))
    mean_up = ups.mean(0)
    level = spread[0] < 0.1 * spread[1] and spread[1] > 0.02
    if not level and torch.linalg.vector_norm(mean_up) > 0.1:
        return _unit(mean_up)
    normal = axes[:, 0]
    return normal if normal @ mean_up >= 0 else -normal


def _unit(v: Tensor) -> Tensor:
    return v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)
