"""An unsigned distance field rendered as a volume over packed samples (NeuralUDF, Long et al. 2023, arXiv:2211.14173).

Opacities are those of `renderers.udf_alpha`, whose products along rays are taken here with the kernels for packed rays.
Colours are asked for with normals turned towards the eye: a sheet has no outside, and may look different from its two
sides. u is the unsigned distance, t the distance along a ray.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.cameras.rays import Rays
from rilievo.ops.packed import PackedSamples
from rilievo.ops.ray_weights import accumulate, weights_from_alpha

from .alpha import alpha_from_sdf
from .surface import SurfaceRender
from .udf_alpha import APPROACHING, OpacityFn, alpha_from_udf, crossing_alpha, passing_share

UdfFn = Callable[
    [Float[Tensor, "samples 3"]],
    tuple[Float[Tensor, "samples"], Float[Tensor, "samples 3"], Float[Tensor, "samples features"]],
]
"""Points → (u, ∇u, feature)."""
ColorFn = Callable[
    [Float[Tensor, "samples features"], Int64[Tensor, "samples"], Float[Tensor, "samples 3"]],
    Float[Tensor, "samples channels"],
]
"""(feature, index of the ray, normals towards the eye) → colour seen along that ray, and what else is wanted of it."""


@dataclass(frozen=True)
class Widths:
    """How sharply surfaces are drawn, and how ready an approaching sample is forgiven."""

    inv_s: Float[Tensor, ""]
    """Of opacity."""
    beta: Float[Tensor, ""]
    """Of visibility, the inverse width of a crossing."""
    gamma: Float[Tensor, ""]
    """Of visibility, the certainty of a crossing."""
    saturation: float
    """Share of a crossing that an approaching sample does not count (`udf_alpha`)."""
    cos_anneal: float | None
    """From NeuS's forgiving slope, 0, to the true one, 1 (`alpha.annealed_cos`); None is the true one, too."""
    least_light: float = 0.0
    """Added to each factor of the products along a ray: `udf_alpha.LEAST_LIGHT`, as published, or nothing."""


@dataclass(frozen=True)
class UnsignedRender(SurfaceRender):
    """`sdf` and `sdf_grad` are u and ∇u, `normals` point to the eye."""

    extra: Float[Tensor, "rays extra"]
    """Channels after the third of what the colour function gave, composited alike."""


def render_unsigned(
    rays: Rays,
    samples: PackedSamples,
    udf_fn: UdfFn,
    color_fn: ColorFn,
    widths: Widths,
    *,
    unit_slope: bool = True,
    opacity: OpacityFn = alpha_from_sdf,
) -> UnsignedRender:
    """Composite an unsigned distance field and its colours over packed samples, at the intervals' midpoints.

    The cosine of a ray with the surface is that with the unit normal, or with `unit_slope` off direction · ∇u, which
    draws steeper fields sharper. `opacity` as in `udf_alpha.alpha_from_udf`.
    """
    ray = samples.ray_index
    t, dt = samples.midpoints, samples.intervals
    directions = rays.directions[ray]
    points = rays.origins[ray] + t[:, None] * directions
    udf, gradient, feature = udf_fn(points)
    normals = F.normalize(gradient, dim=-1)
    cos = (directions * (normals if unit_slope else gradient)).sum(-1)
    visible = packed_visibility(udf, cos, dt, ray, samples.offsets, widths)
    alpha = alpha_from_udf(udf, cos, dt, widths.inv_s, visible, cos_anneal=widths.cos_anneal, opacity=opacity)
    weights, _ = weights_from_alpha(alpha - widths.least_light, samples.offsets)
    facing = torch.where(cos[:, None] > 0, -normals, normals)
    seen = accumulate(weights, torch.cat([facing, t[:, None], color_fn(feature, ray, facing)], -1), samples.offsets)
    return UnsignedRender(
        rgb=seen[:, 4:7],
        extra=seen[:, 7:],
        opacity=accumulate(weights, None, samples.offsets)[:, 0],
        distance=seen[:, 3],
        normals=seen[:, :3],
        sdf=udf,
        sdf_grad=gradient,
        points=points,
        weights=weights,
        midpoints=t,
        intervals=dt,
        offsets=samples.offsets,
    )


def packed_visibility(
    udf: Float[Tensor, "samples"],
    cos: Float[Tensor, "samples"],
    dt: Float[Tensor, "samples"],
    ray: Int64[Tensor, "samples"],
    offsets: Int64[Tensor, "rays_plus_one"],
    widths: Widths,
) -> Float[Tensor, "samples"]:
    """Probability that no surface has been crossed before each sample: `udf_alpha.visibility`, packed."""
    crossing = crossing_alpha(udf, dt, widths.beta, widths.gamma)
    passing = passing_share(crossing, packed_approach(cos, ray), widths.saturation)
    visible = weights_from_alpha(1 - passing - widths.least_light, offsets)[1]
    return visible.clamp(0, 1) if widths.least_light else visible


def packed_approach(cos: Float[Tensor, "samples"], ray: Int64[Tensor, "samples"]) -> Bool[Tensor, "samples"]:
    """Where u does not rise yet at the next sample of the ray: `udf_alpha.still_approaching`, packed."""
    ends = torch.ones_like(ray, dtype=torch.bool)
    ends[:-1] = ray[1:] != ray[:-1]
    return ends | (F.pad(cos[1:], (0, 1)) < APPROACHING)
