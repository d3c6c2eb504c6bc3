"""The split sum: what a rough mirror reflects of light that does not depend on direction, as a table (Karis 2013).

The specular integral is split into blurred light times reflectance, and the reflectance is linear in F₀:

    ∫ F D G₂ / (4 n·v) dl  =  F₀ A + B,
    A = ∫ (1 - (1 - v·h)⁵) D G₂ / (4 n·v) dl,    B = ∫ (1 - v·h)⁵ D G₂ / (4 n·v) dl

A and B depend on n·v and the roughness alone. With h drawn among visible facets, D G₂ / (4 n·v) over its density is
G₂ / G₁. The published table of NeRO (Liu et al. 2023, arXiv:2305.17398) is this integral with α = roughness² to 4e-4 on
average, and ours agrees with it to 7e-5 when summed densely. The table is computed when first asked for, within a few
seconds, and kept in memory.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from .microfacet import fresnel_schlick, sample_visible_normals, smith_lambda
from .reflection import dot, reflect
from .texture import bilinear

TABLE_SIZE = 128
"""Texels along n·v and along roughness. Off by 5e-4 on average; by up to 0.03 at roughness or n·v near 0, where both
vary within a texel.
"""
SHARPEST = 1e-7
"""Smallest α of the integral, which is in double precision."""
DRAWS = (32, 16)
"""Midpoints over the facets' two uniform numbers: cap height, and half of the azimuths (the others mirror them)."""


def reflectance_integral(
    n_dot_v: Float[Tensor, "*n"], roughness: Float[Tensor, "*n"], draws: tuple[int, int] = DRAWS
) -> Float64[Tensor, "*n 2"]:
    """(A, B) by midpoints over visible facets, in double precision."""
    cos, alpha = (x.double()[..., None, None] for x in (n_dot_v, roughness.square().clamp_min(SHARPEST)))
    heights, azimuths = draws
    v = (torch.arange(heights, dtype=torch.float64, device=cos.device) + 0.5) / heights
    v = v.square() * (3 - 2 * v)  # denser at both ends of the cap, where grazing light is
    weight = torch.diff(_smooth_edges(heights, cos.device))
    u = (torch.arange(azimuths, dtype=torch.float64, device=cos.device) + 0.5) / (2 * azimuths)
    uniform = torch.cartesian_prod(u, v)
    view = torch.cat([(1 - cos.square()).clamp_min(0).sqrt(), torch.zeros_like(cos), cos], -1)
    facets = sample_visible_normals(view, alpha, uniform)
    light = reflect(view, facets)
    seen = 1 + smith_lambda(cos, alpha)
    lit = seen / (seen + smith_lambda(light[..., 2:], alpha)) * (light[..., 2:] > 0)  # G₂ / G₁
    grazing = fresnel_schlick(torch.zeros_like(cos), dot(view, facets))
    terms = torch.cat([(1 - grazing) * lit, grazing * lit], -1)
    return (terms * weight.repeat(azimuths)[:, None]).sum(-2) / azimuths


def _smooth_edges(count: int, device: torch.device) -> Float64[Tensor, "count_plus_one"]:
    """Edges of the intervals whose middles are taken, under t² (3 - 2t)."""
    t = torch.linspace(0, 1, count + 1, dtype=torch.float64, device=device)
    return t.square() * (3 - 2 * t)


@lru_cache(maxsize=4)
def reflectance_table(size: int = TABLE_SIZE) -> Float32[Tensor, "roughness n_dot_v 2"]:
    """(A, B) at the centres of `size`² texels: roughness (i + 0.5) / size by row, n·v by column. Kept in memory."""
    centers = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    rows = [reflectance_integral(centers, roughness.expand(size)) for roughness in centers]
    return torch.stack(rows).float()


def split_sum_reflectance(
    n_dot_v: Float[Tensor, "*#points 1"], roughness: Float[Tensor, "*#points 1"], table: Float[Tensor, "r c 2"]
) -> tuple[Float[Tensor, "*out 1"], Float[Tensor, "*out 1"]]:
    """A and B from a table, so that the reflectance is F₀ A + B. Both places are clamped to [0, 1]."""
    rows, columns, _ = table.shape
    x = n_dot_v[..., 0].clamp(0, 1) * columns - 0.5
    y = roughness[..., 0].clamp(0, 1) * rows - 0.5
    x, y = torch.broadcast_tensors(x, y)
    a, b = bilinear(table, x, y).split(1, dim=-1)
    return a, b


def directional_albedo(
    f0: Float[Tensor, "*#points c"], n_dot_v: Float[Tensor, "*#points 1"], roughness: Float[Tensor, "*#points 1"]
) -> Float[Tensor, "*out c"]:
    """F₀ A + B: how much of a white surrounding a rough mirror shows from one direction."""
    table = reflectance_table().to(f0)
    a, b = split_sum_reflectance(n_dot_v, roughness, table)
    return f0 * a + b
