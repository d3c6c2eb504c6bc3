"""The metallic-roughness reflectance that glTF exports: a rough mirror over a matte ground, evaluated and sampled.

    f_r = F D G₂ / (4 (n·l) (n·v))  +  min(1 - E(n·v), 1 - E(n·l)) (1 - metallic) albedo / π
    F₀  = 0.04 (1 - metallic) + metallic albedo

with F, D, G₂ of `microfacet` and E(cos) what the mirror reflects in all (`split_sum`): that part of the light does not
reach the ground. The smaller factor of the two keeps eye and light exchangeable (Kutz et al. 2021, "Novel Aspects of
the Adobe Standard Material"). glTF's own appendix has 1 - F(v·h) there, which at grazing angles gives back more light
than arrives, and NeRO's shading (`appearance`) has 1. Directions are unit and point away from the surface; colours are
linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .directions import cosine_hemisphere, to_local, to_world
from .microfacet import (
    MIN_ALPHA,
    MIN_COS,
    fresnel_schlick,
    ggx_distribution,
    sample_visible_normals,
    smith_masking,
    smith_masking_shadowing,
)
from .reflection import dot, reflect
from .split_sum import directional_albedo

DIELECTRIC_F0 = 0.04
"""Reflectance face-on of what has a refractive index of 1.5: glass, varnish, skin, most plastics."""


@dataclass(frozen=True)
class Material:
    """What a surface is made of, point by point."""

    albedo: Float[Tensor, "*points 3"]
    """Linear base colour: of the matte ground where `metallic` is 0, of the mirror where it is 1."""
    metallic: Float[Tensor, "*points 1"]
    roughness: Float[Tensor, "*points 1"]

    @property
    def alpha_ggx(self) -> Float[Tensor, "*points 1"]:
        """roughness², not below what float32 can tell from a perfect mirror."""
        return self.roughness.square().clamp_min(MIN_ALPHA)

    @property
    def f0(self) -> Float[Tensor, "*points 3"]:
        """Reflectance of the mirror face-on."""
        return DIELECTRIC_F0 * (1 - self.metallic) + self.metallic * self.albedo

    @property
    def diffuse_albedo(self) -> Float[Tensor, "*points 3"]:
        """Colour of the matte ground."""
        return (1 - self.metallic) * self.albedo


def evaluate(
    material: Material,
    normals: Float[Tensor, "*#points 3"],
    view_dirs: Float[Tensor, "*#points 3"],
    light_dirs: Float[Tensor, "*#points 3"],
) -> Float[Tensor, "*out 3"]:
    """f_r (n·l): radiance towards the eye per irradiance from `light_dirs`; 0 where either is below the surface."""
    halfway = F.normalize(view_dirs + light_dirs, dim=-1, eps=1e-12)
    n_dot_v, n_dot_l = dot(normals, view_dirs), dot(normals, light_dirs)
    lit = (n_dot_v > MIN_COS) & (n_dot_l > MIN_COS)
    alpha = material.alpha_ggx
    fresnel = fresnel_schlick(material.f0, dot(view_dirs, halfway))
    mirror = ggx_distribution(dot(normals, halfway), alpha) * smith_masking_shadowing(n_dot_v, n_dot_l, alpha)
    mirror = mirror / (4 * n_dot_v.clamp_min(MIN_COS))
    reaching = 1 - torch.maximum(
        directional_albedo(material.f0, n_dot_v, material.roughness),
        directional_albedo(material.f0, n_dot_l, material.roughness),
    )
    matte = reaching * material.diffuse_albedo * n_dot_l / math.pi
    return (fresnel * mirror + matte) * lit


def sample(
    material: Material,
    normals: Float[Tensor, "*#points 3"],
    view_dirs: Float[Tensor, "*#points 3"],
    u: Float[Tensor, "*#points 2"],
) -> Float[Tensor, "*out 3"]:
    """Light directions with density `pdf`; some fall below the surface and carry no light.

    The first uniform number chooses between mirror and ground and is then stretched back to [0, 1).
    """
    share = mirror_share(material)
    first, second = u[..., :1], u[..., 1:]
    to_mirror = first < share
    stretched = torch.where(to_mirror, first / share, (first - share) / (1 - share)).clamp(0, 1)
    again = torch.cat([stretched, second], -1)
    local_view = to_local(view_dirs, normals)
    facets = sample_visible_normals(local_view, material.alpha_ggx, again)
    reflected = reflect(local_view, facets)
    local = torch.where(to_mirror, reflected, cosine_hemisphere(again))
    return to_world(local, normals)


def pdf(
    material: Material,
    normals: Float[Tensor, "*#points 3"],
    view_dirs: Float[Tensor, "*#points 3"],
    light_dirs: Float[Tensor, "*#points 3"],
) -> Float[Tensor, "*out 1"]:
    """Density per steradian of what `sample` draws, above the surface and below."""
    halfway = F.normalize(view_dirs + light_dirs, dim=-1, eps=1e-12)
    n_dot_v = dot(normals, view_dirs)
    alpha = material.alpha_ggx
    seen = ggx_distribution(dot(normals, halfway), alpha) * smith_masking(n_dot_v, alpha)
    mirror = seen / (4 * n_dot_v.clamp_min(MIN_COS))
    ground = dot(normals, light_dirs).clamp_min(0) / math.pi
    share = mirror_share(material)
    return share * mirror + (1 - share) * ground


def mirror_share(material: Material) -> Float[Tensor, "*points 1"]:
    """How many samples follow the mirror: its part of the colour, and never fewer than a quarter.

    At least a tenth follow the ground, so that rough mirrors keep their tails.
    """
    mirror, ground = material.f0.mean(-1, keepdim=True), material.diffuse_albedo.mean(-1, keepdim=True)
    return (mirror / (mirror + ground).clamp_min(1e-6)).clamp(0.25, 0.9).detach()
