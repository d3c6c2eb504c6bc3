"""Boxes with axis-aligned faces, balls, and the stretch of a ray inside them.

A stretch is (t_near, t_far) along `origins + t * directions`. A ray that misses has t_near = +inf and t_far = −inf, so
that `t_near <= t_far` asks for a hit and stays right after clamping either end. The line counts, not the half-line: a
stretch that lies behind the origin has negative t; clamp t_near to the near distance (0, say) and ask again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """All points between the corners `low` and `high`, faces included."""

    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]

    @staticmethod
    def cube(radius: float, like: Tensor) -> Box:
        """[−radius, radius]³ with the dtype and device of `like`."""
        high = like.new_full((3,), radius)
        return Box(-high, high)

    @staticmethod
    def of(points: Float[Tensor, "p 3"]) -> Box:
        """The smallest box around points."""
        return Box(points.amin(0), points.amax(0))

    @property
    def center(self) -> Float[Tensor, "3"]:
        return (self.low + self.high) / 2

    @property
    def size(self) -> Float[Tensor, "3"]:
        return self.high - self.low

    @property
    def corners(self) -> Float[Tensor, "8 3"]:
        """Corner number b has the high x where bit 0 of b is set, the high y for bit 1, the high z for bit 2."""
        bits = torch.arange(8, device=self.low.device)[:, None] >> torch.arange(3, device=self.low.device) & 1
        return torch.where(bits.bool(), self.high, self.low)

    def contains(self, points: Float[Tensor, "*b 3"]) -> Bool[Tensor, "*b"]:
        return ((points >= self.low) & (points <= self.high)).all(-1)


def ray_box(
    origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"], box: Box
) -> tuple[Float[Tensor, "r"], Float[Tensor, "r"]]:
    """Stretch of each ray inside a box (Kay & Kajiya 1986); rays along faces and with zero components are exact."""
    parallel = directions == 0
    inverse = 1 / torch.where(parallel, 1, directions)
    to_low, to_high = (box.low - origins) * inverse, (box.high - origins) * inverse
    inside = (origins >= box.low) & (origins <= box.high)
    # Between two planes that the ray never meets lies all of it or nothing.
    always, never = torch.full_like(origins, torch.inf), torch.full_like(origins, -torch.inf)
    enter = torch.where(parallel, torch.where(inside, never, always), torch.minimum(to_low, to_high)).amax(-1)
    leave = torch.where(parallel, torch.where(inside, always, never), torch.maximum(to_low, to_high)).amin(-1)
    return _or_miss(enter, leave, enter <= leave)


def ray_ball(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    center: Float[Tensor, "3"],
    radius: float | Float[Tensor, ""],
) -> tuple[Float[Tensor, "r"], Float[Tensor, "r"]]:
    """Stretch of each ray inside a ball; `directions` are unit. A ray that only touches has t_near = t_far."""
    to_center = center - origins
    middle = (to_center * directions).sum(-1)
    # Distance from the centre via the foot point: |to_center|² − middle² cancels for eyes far away.
    foot = to_center - middle[:, None] * directions
    half_squared = radius**2 - (foot * foot).sum(-1)
    hit = half_squared >= 0
    half = torch.where(half_squared > 0, half_squared, 1).sqrt() * (half_squared > 0)
    return _or_miss(middle - half, middle + half, hit)


def _or_miss(near: Tensor, far: Tensor, hit: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(hit, near, torch.inf), torch.where(hit, far, -torch.inf)
