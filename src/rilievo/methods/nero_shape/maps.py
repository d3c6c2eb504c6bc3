"""Pictures of what a surface is made of and how it is lit, where rays meet it (NeRO, arXiv:2305.17398, figure 6).

A ray meets the surface at its expected distance t* = Σ w t over all its samples, those beyond the ball included, and
the material, the normal and the light of that one point are shown: not composited along the ray, as the colour is. Rays
that end outside the unit ball show nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.renderers.occlusion import LevelFn, find_crossings
from rilievo.renderers.surface import SdfFn
from rilievo.shading.appearance import Appearance
from rilievo.shading.color import linear_to_srgb

from .render import ShadeFn

EVEN_STEPS, DRAWN_STEPS = 128, 9
"""Of the march that says what is hidden, as published for pictures."""


@dataclass(frozen=True)
class SurfaceMaps:
    """What rays meet; rows of rays that meet nothing within the ball hold numbers without a meaning."""

    distance: Float[Tensor, "r 1"]
    inside: Bool[Tensor, "r 1"]
    """The meeting point is in the unit ball."""
    normals: Float[Tensor, "r 3"]
    appearance: Appearance
    hidden: Float[Tensor, "r 1"]
    """How likely the mirrored ray meets the surface again, by marching; `appearance.incoming.occlusion` is learned."""

    def pictures(self) -> dict[str, Float[Tensor, "r _c"]]:
        """Pictures in [0, 1] but for `indirect_light`, which is linear; black where nothing is met. Colours that are
        seen are sRGB, shares and albedos as they are."""
        seen, inside = self.appearance, self.inside
        material, incoming = seen.material, seen.incoming
        shown = {
            "normal": (self.normals + 1) / 2,
            "albedo": material.albedo,
            "metallic": material.metallic,
            "roughness": material.roughness,
            "diffuse_albedo": material.diffuse_albedo,
            "diffuse_light": linear_to_srgb(seen.diffuse_light),
            "diffuse_color": linear_to_srgb(seen.diffuse),
            "specular_albedo": material.f0,
            "specular_ref": seen.reflectance,
            "specular_light": linear_to_srgb(incoming.light),
            "specular_color": linear_to_srgb(seen.specular),
            "indirect_light": incoming.indirect,
            "human_light": linear_to_srgb(incoming.photographer),
            "occ_prob": incoming.occlusion.clamp(0, 1),
        }
        return {name: value * inside for name, value in shown.items()}


def surface_maps(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    t: Float[Tensor, "r samples"],
    weights: Float[Tensor, "r samples"],
    sdf_fn: SdfFn,
    shade_fn: ShadeFn,
    level_fn: LevelFn,
    inv_s: Float[Tensor, ""],
) -> SurfaceMaps:
    """Look at the points that rays meet, given the samples' distances and weights."""
    distance = (weights * t).sum(-1, keepdim=True)
    points = origins + distance * directions
    _, gradients, features = sdf_fn(points)
    appearance = shade_fn(points, gradients, features, torch.arange(len(points), device=points.device))
    hidden = find_crossings(points, appearance.reflected, level_fn, inv_s, EVEN_STEPS, DRAWN_STEPS).probability
    inside = points.norm(dim=-1, keepdim=True) <= 1
    return SurfaceMaps(distance, inside, F.normalize(gradients, dim=-1), appearance, hidden)
