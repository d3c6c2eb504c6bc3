"""What NeRO makes of the numbers of its network beyond the unit sphere (`fields.inverted_sphere`): opacity, light."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rilievo.shading.color import linear_to_srgb

BRIGHTEST = 5.0
"""Exponent of the brightest light."""


def density_alpha(raw: Float[Tensor, "n"], dt: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Opacity of intervals of length `dt`: 1 - exp(-softplus(raw) dt)."""
    return -torch.expm1(-F.softplus(raw) * dt)


def light_color(raw: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """sRGB of the light exp(raw)."""
    return linear_to_srgb(raw.clamp(max=BRIGHTEST).exp())
