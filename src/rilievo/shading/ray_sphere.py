"""Rays and the unit sphere round the origin, which holds the object (NeRO, Liu et al. 2023, arXiv:2305.17398)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .reflection import dot

ROOT_GUARD = 1e-6
"""Added under the root, as published: its gradient stays finite on the sphere itself."""
JUST_INSIDE = 0.999
"""Radius to which points outside are pulled before rays start from them."""


def exit_distance(points: Float[Tensor, "*n 3"], directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 1"]:
    """How far a ray goes from a point in the unit ball, along a unit direction, until it leaves the ball."""
    along = dot(points, directions)
    return -along + (along.square() - dot(points, points) + 1 + ROOT_GUARD).clamp_min(ROOT_GUARD).sqrt()


def exit_point(points: Float[Tensor, "*n 3"], directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Where the ray from a point leaves the unit ball, on the sphere; points outside start just inside."""
    start = pulled_inside(points)
    return F.normalize(start + directions * exit_distance(start, directions), dim=-1)


def pulled_inside(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Points farther out than 0.999 moved there, towards the centre; the others as they are."""
    length = points.norm(dim=-1, keepdim=True)
    return torch.where(length > JUST_INSIDE, points / length.clamp_min(JUST_INSIDE) * JUST_INSIDE, points)


def near_far(
    origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], min_near: float = 1e-3
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """One unit before and behind the point of each ray nearest to the origin, along directions of any length.

    For unit directions every hit with the unit ball lies between them; `near` is not below `min_near`.
    """
    middle = -(origins * directions).sum(-1) / directions.square().sum(-1)
    return (middle - 1).clamp_min(min_near), middle + 1
