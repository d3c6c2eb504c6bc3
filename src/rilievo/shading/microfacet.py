"""Microfacet reflection: the GGX distribution of normals, its shadowing, and Fresnel's reflection as Schlick put it.

Symbols: n the surface's normal, h that of a facet, v to the eye, l to the light; α = `alpha_ggx` = roughness².

    D(h)  = α² / (π (1 + (n·h)² (α² - 1))²)                             (Walter et al. 2007, eq. 33)
    Λ(θ)  = (√(1 + α² tan²θ) - 1) / 2                                   (Heitz 2014, eq. 72)
    G₁    = 1 / (1 + Λ_v),        G₂ = 1 / (1 + Λ_v + Λ_l)              (masking; with shadowing, height-correlated)
    f_r   = F D G₂ / (4 (n·l) (n·v))

Cosines come with a last dimension of 1, so that they scale colours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .directions import polar

MIN_ALPHA = 1.6e-3
"""α of the sharpest lobe (roughness 0.04): sharper ones are lost in float32's rounding of 1 - cos²."""
MIN_COS = 1e-4
"""Below it a direction is in the surface, and cosines are not divided by."""


def ggx_distribution(
    n_dot_h: Float[Tensor, "*#points 1"], alpha_ggx: Float[Tensor, "*#points 1"]
) -> Float[Tensor, "*out 1"]:
    """D: facets per steradian and area whose normal is h; ∫ D (n·h) dh = 1."""
    a2 = alpha_ggx.square()
    spread = (1 - n_dot_h.square()) + a2 * n_dot_h.square()
    return a2 / (math.pi * spread.square()) * (n_dot_h > 0)


def smith_lambda(cos: Float[Tensor, "*#points 1"], alpha_ggx: Float[Tensor, "*#points 1"]) -> Float[Tensor, "*out 1"]:
    """Λ: hidden per seen facet, from a direction at angle θ to the normal."""
    c2 = cos.clamp(MIN_COS, 1).square()
    return ((1 + alpha_ggx.square() * (1 - c2) / c2).sqrt() - 1) / 2


def smith_masking(cos: Float[Tensor, "*#points 1"], alpha_ggx: Float[Tensor, "*#points 1"]) -> Float[Tensor, "*out 1"]:
    """G₁: the share of facets seen from one direction."""
    return 1 / (1 + smith_lambda(cos, alpha_ggx))


def smith_masking_shadowing(
    n_dot_v: Float[Tensor, "*#points 1"], n_dot_l: Float[Tensor, "*#points 1"], alpha_ggx: Float[Tensor, "*#points 1"]
) -> Float[Tensor, "*out 1"]:
    """G₂: the share of facets both seen and lit."""
    return 1 / (1 + smith_lambda(n_dot_v, alpha_ggx) + smith_lambda(n_dot_l, alpha_ggx))


def fresnel_schlick(f0: Float[Tensor, "*#points c"], v_dot_h: Float[Tensor, "*#points 1"]) -> Float[Tensor, "*out c"]:
    """F: from `f0`, the reflectance face-on, to 1 at grazing angles (Schlick 1994)."""
    return f0 + (1 - f0) * (1 - v_dot_h).clamp(0, 1).pow(5)


def fresnel_schlick_rough(
    f0: Float[Tensor, "*#points c"], n_dot_v: Float[Tensor, "*#points 1"], roughness: Float[Tensor, "*#points 1"]
) -> Float[Tensor, "*out c"]:
    """F of a whole rough surface seen from v: grazing angles reach max(1 - roughness, f0) only (Lagarde 2011)."""
    return f0 + (torch.maximum(1 - roughness, f0) - f0) * (1 - n_dot_v).clamp(0, 1).pow(5)


def sample_visible_normals(
    view: Float[Tensor, "*#n 3"], alpha_ggx: Float[Tensor, "*#n 1"], u: Float[Tensor, "*#n 2"]
) -> Float[Tensor, "*out 3"]:
    """Local facet normals h with density G₁ D max(0, v·h) / (n·v) (Dupuy & Benyoub 2023, arXiv:2306.05044).

    `view` is local, with z >= 0. Seen along v, a stretched hemisphere reflects its visible facets evenly into a cap.
    """
    stretched = F.normalize(torch.cat([alpha_ggx * view[..., :2], view[..., 2:]], -1), dim=-1)
    z = (1 - u[..., 1:]) * (1 + stretched[..., 2:]) - stretched[..., 2:]
    disc = polar((1 - z * z).clamp_min(0).sqrt()[..., 0], 2 * math.pi * u[..., 0])
    halfway = torch.cat([disc, z], -1) + stretched
    return F.normalize(torch.cat([alpha_ggx * halfway[..., :2], halfway[..., 2:]], -1), dim=-1)
