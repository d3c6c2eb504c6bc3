"""How a surface under a light field looks, in NeRO's first stage (Liu et al. 2023, arXiv:2305.17398, eq. 5 to 8).

    c = (1 - m) a L_diffuse + [F₀ A(n·v, ρ) + B(n·v, ρ)] L_specular,   F₀ = 0.04 (1 - m) + m a

with albedo a, metallic m, roughness ρ and the split sum's A and B. There is no 1/π: the diffuse light stands for
irradiance over π. All colours are linear; `rgb` is encoded for comparison with photos.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .brdf import Material
from .color import linear_to_srgb
from .light import Incoming, LightField
from .reflection import dot, reflect
from .split_sum import split_sum_reflectance


@dataclass(frozen=True)
class Appearance:
    """A shaded point and what it is made of, in linear light."""

    material: Material
    diffuse_light: Float[Tensor, "n 3"]
    incoming: Incoming
    reflectance: Float[Tensor, "n 3"]
    """F₀ A + B."""
    reflected: Float[Tensor, "n 3"]
    """Unit mirror direction."""

    @property
    def diffuse(self) -> Float[Tensor, "n 3"]:
        return self.material.diffuse_albedo * self.diffuse_light

    @property
    def specular(self) -> Float[Tensor, "n 3"]:
        return self.reflectance * self.incoming.light

    @property
    def rgb(self) -> Float[Tensor, "n 3"]:
        """sRGB in [0, 1], as photos hold it."""
        return linear_to_srgb(self.diffuse + self.specular)


def shade(
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    view_dirs: Float[Tensor, "n 3"],
    material: Material,
    lights: LightField,
    table: Float[Tensor, "r c 2"],
    photographer_from_world: Float[Tensor, "n 3 4"] | None = None,
) -> Appearance:
    """Shade points in the unit ball; normals (a distance field's gradient) and view directions need not be unit.

    `table` is `reflectance_table()`, on the device of the points.
    """
    normals, view_dirs = F.normalize(normals, dim=-1), F.normalize(view_dirs, dim=-1)
    reflected = reflect(view_dirs, normals)
    a, b = split_sum_reflectance(dot(normals, view_dirs), material.roughness, table)
    return Appearance(
        material,
        lights.diffuse(points, normals),
        lights.mirrored(points, reflected, material.roughness, photographer_from_world),
        material.f0 * a + b,
        reflected,
    )
