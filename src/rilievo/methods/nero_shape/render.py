"""A distance field seen by the light it reflects: NeuS's weights, NeRO's shading (arXiv:2305.17398, section 3.3).

Every sample along a ray is shaded by itself and its sRGB colour composited, as published. Samples of which the ray
sees next to nothing are left out of both, so that shading, the dear part, is paid where there is surface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.cameras.rays import Rays
from rilievo.ops.packed import PackedSamples
from rilievo.ops.ray_weights import accumulate, weights_from_alpha
from rilievo.renderers.alpha import alpha_from_sdf, annealed_cos
from rilievo.renderers.surface import SdfFn, SurfaceRender
from rilievo.shading.appearance import Appearance

ShadeFn = Callable[
    [
        Float[Tensor, "shaded 3"],
        Float[Tensor, "shaded 3"],
        Float[Tensor, "shaded features"],
        Int64[Tensor, "shaded"],
    ],
    Appearance,
]
"""(points, normals, features, index of the ray) → how it looks from that ray."""


@dataclass(frozen=True)
class GlossyRender(SurfaceRender):
    """A surface, and what its light is made of."""

    shaded: Int64[Tensor, "shaded"]
    """The samples that were shaded."""
    appearance: Appearance
    """Of these."""


def render_glossy(
    rays: Rays,
    samples: PackedSamples,
    sdf_fn: SdfFn,
    shade_fn: ShadeFn,
    inv_s: Float[Tensor, ""],
    cos_anneal: float,
    *,
    min_weight: float = 0.0,
) -> GlossyRender:
    """As `render_surface`, shading only samples with a weight of at least `min_weight`."""
    ray, t, dt = samples.ray_index, samples.midpoints, samples.intervals
    directions = rays.directions[ray]
    points = rays.origins[ray] + t[:, None] * directions
    sdf, gradient, feature = sdf_fn(points)
    normals = F.normalize(gradient, dim=-1)
    cos = annealed_cos((directions * normals).sum(-1), cos_anneal)
    weights, _ = weights_from_alpha(alpha_from_sdf(sdf, cos, dt, inv_s), samples.offsets)
    shaded = (weights.detach() >= min_weight).nonzero()[:, 0]
    appearance = shade_fn(points[shaded], normals[shaded], feature[shaded], ray[shaded])
    rgb = points.new_zeros(len(points), 3).index_put((shaded,), appearance.rgb)
    seen = accumulate(weights, torch.cat([rgb, normals, t[:, None]], -1), samples.offsets)
    return GlossyRender(
        rgb=seen[:, :3],
        opacity=accumulate(weights, None, samples.offsets)[:, 0],
        distance=seen[:, 6],
        normals=seen[:, 3:6],
        sdf=sdf,
        sdf_grad=gradient,
        points=points,
        weights=weights,
        midpoints=t,
        intervals=dt,
        offsets=samples.offsets,
        shaded=shaded,
        appearance=appearance,
    )
