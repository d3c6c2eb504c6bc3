"""Light round an unknown object, as small networks: NeRO's direct, indirect and photographer's light (section 3.3).

A point p in the unit ball sees along a direction ω, blurred by roughness ρ:

    light = s L_indirect(p, ω, ρ) + (1 - s) [w L_photographer + (1 - w) L_direct(ω, ρ)]

with s the probability that something of the object stands in the way. Directions are encoded with
`DirectionalEncoding`; networks and the encodings of position come as callables, and all light is linear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .directional_encoding import DirectionalEncoding
from .photographer import encode_plane, meet_plane
from .ray_sphere import exit_point

Network = Callable[[Tensor], Tensor]
"""[points, features] → [points, outputs], without an activation at the end."""


def exp_radiance(raw: Float[Tensor, "*n"], max_exponent: float) -> Float[Tensor, "*n"]:
    """exp(min(raw, max_exponent)): light is never negative, and a bound keeps one ray from blinding the rest."""
    return raw.clamp(max=max_exponent).exp()


@dataclass(frozen=True)
class Incoming:
    """What arrives along a blurred direction, and how it is made up."""

    light: Float[Tensor, "n 3"]
    occlusion: Float[Tensor, "n 1"]
    """s as predicted: it may leave [0, 1], and the loss pulls it back."""
    indirect: Float[Tensor, "n 3"]
    """s L_indirect."""
    photographer: Float[Tensor, "n 3"]
    """w L_photographer, not yet dimmed by 1 - s; 0 without a photographer."""


class LightField(nn.Module):
    """Direct, indirect and, where asked for, the photographer's light.

    `direct` sees the encoded direction, and with `from_sphere` also the encoded point where the ray leaves the unit
    sphere, so that near surroundings show parallax. `indirect` sees encoded position and direction, `occlusion` both
    with plain encodings, `photographer` (4 outputs: light and w) the encoded point of its plane.
    """

    def __init__(
        self,
        direct: Network,
        indirect: Network,
        occlusion: Network,
        photographer: Network | None,
        *,
        encode_points: Network,
        encode_directions: Network,
        from_sphere: bool = False,
        degree: int = 5,
        max_exponent: float = 0.0,
        photographer_max_exponent: float = 0.0,
    ) -> None:
        super().__init__()
        self.direct, self.indirect, self.occlusion, self.photographer = direct, indirect, occlusion, photographer
        self.encode_points, self.encode_directions = encode_points, encode_directions
        self.blurred = DirectionalEncoding(degree)
        self.from_sphere = from_sphere
        self.max_exponent, self.photographer_max_exponent = max_exponent, photographer_max_exponent

    def mirrored(
        self,
        points: Float[Tensor, "n 3"],
        reflected: Float[Tensor, "n 3"],
        roughness: Float[Tensor, "n 1"],
        photographer_from_world: Float[Tensor, "n 3 4"] | None = None,
    ) -> Incoming:
        """Light along reflected unit directions."""
        direction = self.blurred(reflected, roughness)
        position = self.encode_points(points)
        indirect = exp_radiance(self.indirect(torch.cat([position, direction], -1)), self.max_exponent)
        seen = torch.cat([position.detach(), self.encode_directions(reflected).detach()], -1)
        raw = 0.5 + 0.5 * self.occlusion(seen)
        hidden = raw.clamp(0, 1)
        photographer, weight = self._photographer(points, reflected, roughness, photographer_from_world)
        outside = photographer * weight + self._direct(points, reflected, direction, roughness) * (1 - weight)
        light = indirect * hidden + outside * (1 - hidden)
        return Incoming(light, raw, indirect * hidden, photographer * weight)

    def diffuse(self, points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Light over the hemisphere of a unit normal: the direct light at a roughness of 1, never hidden."""
        roughness = torch.ones_like(normals[:, :1])
        return self._direct(points, normals, self.blurred(normals, roughness), roughness)

    def _direct(self, points: Tensor, directions: Tensor, encoded: Tensor, roughness: Tensor) -> Tensor:
        if self.from_sphere:
            encoded = torch.cat([encoded, self.blurred(exit_point(points, directions), roughness)], -1)
        return exp_radiance(self.direct(encoded), self.max_exponent)

    def _photographer(
        self, points: Tensor, reflected: Tensor, roughness: Tensor, frame_from_world: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """L_photographer and w, both 0 for rays that meet nobody."""
        if self.photographer is None or frame_from_world is None:
            return torch.zeros_like(points), torch.zeros_like(roughness)
        features, meets = encode_plane(meet_plane(points, reflected, frame_from_world), roughness)
        seen = exp_radiance(self.photographer(features), self.photographer_max_exponent) * meets
        return seen[:, :3], seen[:, 3:].clamp(0, 1)
