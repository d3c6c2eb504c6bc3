"""Light at points of a known surface, traced: from outside where a ray leaves, from the surface where it returns.

NeRO's second stage (Liu et al. 2023, arXiv:2305.17398, section 3.5). A ray from a point along ω either meets the mesh
again, and then carries the indirect light of the place it meets, mirrored there towards where it came from; or it
leaves, and carries direct light, or the photographer's.

    L(p, ω) = L_indirect(q, mirror of -ω at q)           where the ray meets the mesh in q
            = w L_photographer + (1 - w) L_direct(ω)     where it leaves
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .directional_encoding import DirectionalEncoding
from .light import Network, exp_radiance
from .photographer import encode_plane, meet_plane
from .ray_sphere import JUST_INSIDE, exit_distance
from .reflection import reflect

START = 1e-5
"""Rays start this far along, and what they meet nearer than this sends no light, so that no face lights itself."""


@dataclass(frozen=True)
class Meeting:
    """Where rays meet the mesh again."""

    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    distance: Float[Tensor, "n 1"]
    hit: Bool[Tensor, "n"]


TraceFn = Callable[[Float[Tensor, "n 3"], Float[Tensor, "n 3"]], Meeting]
"""(origins, unit directions) → what is met."""


class TracedLight(nn.Module):
    """Networks for the light that rays carry; `photographer` has 4 outputs, light and w.

    `direct` sees the encoded direction, and with `from_sphere` the encoded point where the ray leaves the unit sphere
    (not made unit again, as published).
    """

    def __init__(
        self,
        direct: Network,
        indirect: Network,
        photographer: Network | None,
        *,
        encode_points: Network,
        from_sphere: bool = False,
        degree: int = 5,
        max_exponent: float = 5.0,
        indirect_max_exponent: float = 5.0,
        photographer_max_exponent: float = 0.0,
    ) -> None:
        super().__init__()
        self.direct, self.indirect, self.photographer = direct, indirect, photographer
        self.encode_points, self.encode_direction = encode_points, DirectionalEncoding(degree)
        self.from_sphere = from_sphere
        self.max_exponent, self.indirect_max_exponent = max_exponent, indirect_max_exponent
        self.photographer_max_exponent = photographer_max_exponent

    def forward(
        self,
        points: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n s 3"],
        trace: TraceFn,
        photographer_from_world: Float[Tensor, "n 3 4"] | None = None,
    ) -> Float[Tensor, "n s 3"]:
        """Linear light from each direction of each point."""
        count = directions.shape[1]
        start, heading = points.repeat_interleave(count, 0), directions.flatten(0, 1)
        met = trace(start + heading * START, heading)
        light = torch.zeros_like(heading)
        gone = ~met.hit
        if bool(gone.any()):
            frames = None if photographer_from_world is None else photographer_from_world.repeat_interleave(count, 0)
            from_outside = self.outside(start[gone], heading[gone], None if frames is None else frames[gone])
            light = light.index_put((gone,), from_outside)
        if bool(met.hit.any()):
            hit = met.hit
            from_surface = self.from_surface(met.points[hit], -heading[hit], met.normals[hit])
            light = light.index_put((hit,), from_surface)
        return (light * (met.distance > START)).view_as(directions)

    def outside(
        self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], frames: Float[Tensor, "n 3 4"] | None
    ) -> Float[Tensor, "n 3"]:
        """Light along rays that leave."""
        direct = self.surroundings(points, directions)
        seen = self.photographed(points, directions, frames)
        return direct if seen is None else direct * (1 - seen[:, 3:]) + seen[:, :3] * seen[:, 3:]

    def surroundings(self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Direct light; also where the photographer stands."""
        encoded = self.encode_direction(directions)
        if self.from_sphere:
            # Pulled in by a factor and not onto 0.999, as published; the two differ beyond radius 1.
            near = torch.where(points.norm(dim=-1, keepdim=True) > JUST_INSIDE, points * JUST_INSIDE, points)
            left = near + directions * exit_distance(near, directions)
            encoded = torch.cat([encoded, self.encode_direction(left)], -1)
        return exp_radiance(self.direct(encoded), self.max_exponent)

    def from_surface(
        self, points: Float[Tensor, "n 3"], view_dirs: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n 3"]:
        """Light that the surface sends on; normals and view directions need not be unit."""
        mirrored = reflect(F.normalize(view_dirs, dim=-1), F.normalize(normals, dim=-1))
        seen = torch.cat([self.encode_points(points), self.encode_direction(mirrored)], -1)
        return exp_radiance(self.indirect(seen), self.indirect_max_exponent)

    def photographed(
        self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], frames: Float[Tensor, "n 3 4"] | None
    ) -> Float[Tensor, "n 4"] | None:
        """The photographer's light and w, 0 for rays that meet nobody; None where there is none."""
        if self.photographer is None or frames is None:
            return None
        sharp = torch.zeros_like(points[:, :1])
        features, meets = encode_plane(meet_plane(points, directions, frames), sharp)
        seen = exp_radiance(self.photographer(features), self.photographer_max_exponent) * meets
        return torch.cat([seen[:, :3], seen[:, 3:].clamp(0, 1)], -1)
