"""Directions: frames round a normal, samples of hemisphere and sphere, azimuth and elevation.

Uniform numbers u in [0, 1)² come from the caller, so that they may be random, stratified or fixed. Local directions
have z along the normal.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def tangent_frame(
    normals: Float[Tensor, "*points 3"],
) -> tuple[Float[Tensor, "*points 3"], Float[Tensor, "*points 3"]]:
    """Two unit vectors that make a right-handed frame with the unit normal as its third (Duff et al. 2017, JCGT 6(1)).

    Smooth but for the plane z = 0 at the lower hemisphere's border.
    """
    x, y, z = normals.unbind(-1)
    sign = torch.where(z >= 0, 1.0, -1.0).to(z.dtype)
    a = -1 / (sign + z)
    b = x * y * a
    tangent = torch.stack([1 + sign * x * x * a, sign * b, -sign * x], -1)
    bitangent = torch.stack([b, sign + y * y * a, -y], -1)
    return tangent, bitangent


def to_world(local: Float[Tensor, "*#points 3"], normals: Float[Tensor, "*#points 3"]) -> Float[Tensor, "*out 3"]:
    """From the frame round each normal to the world."""
    tangent, bitangent = tangent_frame(normals)
    x, y, z = local.split(1, dim=-1)
    return x * tangent + y * bitangent + z * normals


def to_local(world: Float[Tensor, "*#points 3"], normals: Float[Tensor, "*#points 3"]) -> Float[Tensor, "*out 3"]:
    """From the world to the frame round each normal."""
    tangent, bitangent = tangent_frame(normals)
    return torch.stack([(world * axis).sum(-1) for axis in (tangent, bitangent, normals)], -1)


def polar(radius: Float[Tensor, "*#n"], azimuth: Float[Tensor, "*#n"]) -> Float[Tensor, "*out 2"]:
    """The point of a disc."""
    return torch.stack([radius * azimuth.cos(), radius * azimuth.sin()], -1)


def cosine_hemisphere(u: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 3"]:
    """Local directions with density cos θ / π per steradian (Malley's method)."""
    disc = polar(u[..., 0].sqrt(), 2 * math.pi * u[..., 1])
    return torch.cat([disc, (1 - u[..., :1]).clamp_min(0).sqrt()], -1)


def uniform_sphere(u: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 3"]:
    """Directions with density 1 / 4π per steradian."""
    z = 1 - 2 * u[..., :1]
    disc = polar((1 - z * z).clamp_min(0).sqrt()[..., 0], 2 * math.pi * u[..., 1])
    return torch.cat([disc, z], -1)


def fibonacci_sphere(count: int, *, upper_half: bool = False) -> Float[Tensor, "count 3"]:
    """Evenly spread directions in double precision, from low to high z along a spiral of golden angles.

    With `upper_half` they are the second half of the `2 count` directions of the whole sphere, as published with NeRO
    (z = k / count for k = 0 …, the horizon included and the pole not).
    """
    total = 2 * count if upper_half else count
    k = torch.arange(total - count, total, dtype=torch.float64)
    z = 2 * k / total - 1
    azimuth = 2 * math.pi * ((k * GOLDEN_RATIO) % 1)
    return torch.cat([polar((1 - z * z).clamp_min(0).sqrt(), azimuth), z[:, None]], -1)


def azimuth_elevation(
    directions: Float[Tensor, "*n 3"],
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """Azimuth from x towards y in [0, 2π) and elevation above the xy plane in [-π/2, π/2], of unit directions."""
    x, y, z = directions.unbind(-1)
    return torch.atan2(y, x) % (2 * math.pi), z.clamp(-1, 1).asin()
