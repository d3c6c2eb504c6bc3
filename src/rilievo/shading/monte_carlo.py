"""How a surface looks under traced light, as NeRO's second stage estimates it (Liu et al. 2023, arXiv:2305.17398,
section 3.5).

Some directions are drawn for the matte ground, some for the mirror, and each says what light comes from there:

    c_matte  = (1 - m) a · mean over the matte directions of L(ω)
    c_mirror = mean over all directions of F L(ω) D G / (4 (n·v) p(ω))

with p the density of both kinds of direction together. Colours are linear, α = roughness².

The estimator is the published one, and has faults that trained weights have adapted to. Either kind of direction would
give the whole mirror, and since each is divided by its own density alone, the mean over both counts it about twice. The
mirror directions lie round the mirrored view at the angles that facets have round the normal, so that p, the density of
facets, is not quite theirs. Small numbers guard the quotients. `brdf.sample` and `brdf.pdf` have none of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from .brdf import Material
from .color import linear_to_srgb
from .directions import azimuth_elevation, fibonacci_sphere, polar
from .microfacet import fresnel_schlick
from .reflection import dot, reflect

IncomingFn = Callable[[Float[Tensor, "n s 3"]], Float[Tensor, "n s 3"]]
"""Unit directions from each of n points → linear light that comes from there."""
Shadowing = Literal["schlick", "ggx_smith"]
ROOT_GUARD, HALF_ANGLE_GUARD, QUOTIENT_GUARD, LOBE_GUARD, TAN_GUARD = 1e-7, 1e-6, 1e-5, 1e-4, 1e-7
"""Published small numbers."""


def even_squares(count: int) -> Float32[Tensor, "count 2"]:
    """Pairs (azimuth / 2π, u) in [0, 1]² from the upper half of the Fibonacci sphere; u is 0 at the pole."""
    azimuth, elevation = azimuth_elevation(fibonacci_sphere(count, upper_half=True))
    return torch.stack([azimuth / (2 * math.pi), 1 - elevation * 2 / math.pi], -1).float()


def across(directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """A unit vector at right angles to each direction, as published: (y, -x, 0) or (-z, 0, x), whichever is longer."""
    x, y, z = directions.unbind(-1)
    zero = torch.zeros_like(x)
    first, second = torch.stack([y, -x, zero], -1), torch.stack([-z, zero, x], -1)
    longer = first.norm(dim=-1, keepdim=True) > second.norm(dim=-1, keepdim=True)
    return F.normalize(torch.where(longer, first, second), dim=-1)


def tangent_step(
    normals: Float[Tensor, "n 3"], turn: Float[Tensor, "n 1"], length: Float[Tensor, "n 1"] | float
) -> Float[Tensor, "n 3"]:
    """A step of that length along the surface, at `turn` of a full circle about the unit normal."""
    first = across(normals)
    angle = turn * (2 * math.pi)
    return (angle.cos() * first + angle.sin() * torch.linalg.cross(normals, first, dim=-1)) * length


def matte_directions(
    normals: Float[Tensor, "n 3"], squares: Float[Tensor, "s 2"], turn: Float[Tensor, "n 1"] | None = None
) -> Float[Tensor, "n s 3"]:
    """Directions with density n·l / π, each point's turned about its normal by `turn` of a full circle."""
    u = squares[:, 1]
    return _around(normals, (u + ROOT_GUARD).sqrt(), (1 - u + ROOT_GUARD).sqrt(), squares[:, 0], turn)


def mirror_directions(
    reflected: Float[Tensor, "n 3"],
    alpha_ggx: Float[Tensor, "n 1"],
    squares: Float[Tensor, "s 2"],
    turn: Float[Tensor, "n 1"] | None = None,
) -> Float[Tensor, "n s 3"]:
    """Directions round the mirrored view, at the angles of GGX's facets: cos² θ = (1 - u) / (1 + (α² - 1) u)."""
    u = squares[:, 1]
    square = (1 - u + HALF_ANGLE_GUARD) / (1 + (alpha_ggx.square() - 1) * u + HALF_ANGLE_GUARD)
    cos = (square + HALF_ANGLE_GUARD).sqrt()
    sin = (1 - cos.square() + HALF_ANGLE_GUARD).sqrt()
    return _around(reflected, sin, cos, squares[:, 0], turn)


def _around(axis: Tensor, sin: Tensor, cos: Tensor, circle: Tensor, turn: Tensor | None) -> Tensor:
    """sin and cos of the angle to the axis and the share of a full circle about it, as unit directions [n, s, 3]."""
    first = across(axis)
    second = torch.linalg.cross(axis, first, dim=-1)
    share = circle if turn is None else (circle + turn) % 1
    around = polar(sin, share * (2 * math.pi))  # [n or nothing, s, 2]
    along = cos[..., None] * axis[:, None]
    return around[..., :1] * first[:, None] + around[..., 1:] * second[:, None] + along


@dataclass(frozen=True)
class TracedAppearance:
    """What was estimated, in linear light, and the terms of the mirror's sum (matte directions first)."""

    material: Material
    directions: Float[Tensor, "n s 3"]
    light: Float[Tensor, "n s 3"]
    density: Float[Tensor, "n s 1"]
    """p."""
    fresnel: Float[Tensor, "n s 3"]
    shadowing: Float[Tensor, "n s 1"]
    distribution: Float[Tensor, "n s 1"]
    mirror_weight: Float[Tensor, "n s 1"]
    """D G / (4 (n·v) p)."""
    diffuse_light: Float[Tensor, "n 3"]
    specular_light: Float[Tensor, "n 3"]
    """Mean of L times the weight, without F."""
    diffuse: Float[Tensor, "n 3"]
    specular: Float[Tensor, "n 3"]

    @property
    def rgb(self) -> Float[Tensor, "n 3"]:
        """sRGB in [0, 1], as photos hold it."""
        return linear_to_srgb(self.diffuse + self.specular)

    @property
    def approximate_light(self) -> Float[Tensor, "n 3"]:
        """A published picture of that name: (1 - m) of the ground's light and the mirror's colour, in [0, 1].

        As published the mirror's colour has been encoded before it is added, and is encoded again with the sum, so the
        picture is too bright and good for a glance only.
        """
        ground = (1 - self.material.metallic) * self.diffuse_light
        return linear_to_srgb(ground + linear_to_srgb(self.specular))


def shade_traced(
    normals: Float[Tensor, "n 3"],
    view_dirs: Float[Tensor, "n 3"],
    material: Material,
    incoming: IncomingFn,
    matte_squares: Float[Tensor, "d 2"],
    mirror_squares: Float[Tensor, "s 2"],
    *,
    shadowing: Shadowing,
    turns: tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]] | None = None,
) -> TracedAppearance:
    """Shade points, given unit normals and view directions and what light comes from where.

    `turns` rotates the matte and the mirror directions of each point by that share of a full circle.
    """
    matte_turn, mirror_turn = turns or (None, None)
    matte = matte_directions(normals, matte_squares, matte_turn)
    mirror = mirror_directions(reflect(view_dirs, normals), material.alpha_ggx, mirror_squares, mirror_turn)
    directions = torch.cat([matte, mirror], 1)
    n, v, alpha = normals[:, None], view_dirs[:, None], material.alpha_ggx[:, None]
    halfway = F.normalize(v + directions, dim=-1)
    n_dot_h, v_dot_h = _cos(n, halfway), _cos(v, halfway)
    n_dot_v, n_dot_l = _cos(n, v), _cos(n, directions)
    lobe = _distribution(n_dot_h, alpha)
    count, matte_count = directions.shape[1], matte.shape[1]
    of_matte = n_dot_l[:, :matte_count] / math.pi * (matte_count / count)
    facets = (lobe * n_dot_h / (4 * v_dot_h + QUOTIENT_GUARD))[:, matte_count:] * (1 - matte_count / count)
    density = torch.cat([of_matte, facets], 1)
    fresnel = fresnel_schlick(material.f0[:, None], v_dot_h)
    hidden = _schlick if shadowing == "schlick" else _smith
    geometry = hidden(n_dot_v, n_dot_l, alpha)
    weight = lobe * geometry / (4 * n_dot_v * density + QUOTIENT_GUARD)
    light = incoming(directions)
    diffuse_light = light[:, :matte_count].mean(1)
    return TracedAppearance(
        material,
        directions,
        light,
        density,
        fresnel,
        geometry,
        lobe,
        weight,
        diffuse_light,
        (light * weight).mean(1),
        material.diffuse_albedo * diffuse_light,
        (fresnel * light * weight).mean(1),
    )


def _cos(a: Tensor, b: Tensor) -> Tensor:
    return dot(a, b).clamp(0, 1)


def _distribution(n_dot_h: Tensor, alpha: Tensor) -> Tensor:
    """GGX's D (`microfacet.ggx_distribution`), kept from infinity at its peak."""
    a2 = alpha.square()
    return a2 / (math.pi * (n_dot_h.square() * (a2 - 1) + 1).square() + LOBE_GUARD)


def _schlick(n_dot_v: Tensor, n_dot_l: Tensor, alpha: Tensor) -> Tensor:
    """Smith's shadowing, the two ways apart, in Schlick's rational form with k = α / 2."""
    k = alpha / 2
    seen, lit = (cos / (cos * (1 - k) + k + QUOTIENT_GUARD) for cos in (n_dot_v, n_dot_l))
    return seen * lit


def _smith(n_dot_v: Tensor, n_dot_l: Tensor, alpha: Tensor) -> Tensor:
    """G₂ as in `microfacet`, with a published guard where directions touch the surface."""

    def hidden(cos: Tensor) -> Tensor:
        tan2 = (1 - cos.square()) / (cos.square() + TAN_GUARD)
        return ((1 + alpha.square() * tan2).sqrt() - 1) / 2

    return 1 / (1 + hidden(n_dot_v) + hidden(n_dot_l))
