"""A signed distance field rendered as a volume (NeuS, Wang et al. 2021, arXiv:2106.10689).

The samples' opacity comes from how far the field falls along each interval (`renderers.alpha`), so that the weights
peak where the ray first enters the surface. Fields come as callables; t is the distance along a ray, `inv_s` the
sharpness 1/s.
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

from .alpha import alpha_from_sdf, annealed_cos
from .volume import AlphaFn, VolumeRender

SdfFn = Callable[
    [Float[Tensor, "samples 3"]],
    tuple[Float[Tensor, "samples"], Float[Tensor, "samples 3"], Float[Tensor, "samples features"]],
]
"""Points → (sdf, its gradient, feature)."""
ColorFn = Callable[
    [Float[Tensor, "samples features"], Int64[Tensor, "samples"], Float[Tensor, "samples 3"]],
    Float[Tensor, "samples 3"],
]
"""(feature, index of the ray, normals) → colour seen along that ray."""


@dataclass(frozen=True)
class SurfaceRender(VolumeRender):
    """Of a surface, more is known."""

    normals: Float[Tensor, "rays 3"]
    """Σ w n, not normalised."""
    sdf: Float[Tensor, "samples"]
    sdf_grad: Float[Tensor, "samples 3"]
    points: Float[Tensor, "samples 3"]


def render_surface(
    rays: Rays,
    samples: PackedSamples,
    sdf_fn: SdfFn,
    color_fn: ColorFn,
    inv_s: Float[Tensor, ""],
    cos_anneal: float,
) -> SurfaceRender:
    """Composite a distance field and its colours over packed samples, at the intervals' midpoints.

    `cos_anneal` in [0, 1] goes from NeuS's forgiving early slope to the true one (see `annealed_cos`).
    """
    ray = samples.ray_index
    t, dt = samples.midpoints, samples.intervals
    directions = rays.directions[ray]
    points = rays.origins[ray] + t[:, None] * directions
    sdf, gradient, feature = sdf_fn(points)
    normals = F.normalize(gradient, dim=-1)
    cos = annealed_cos((directions * normals).sum(-1), cos_anneal)
    weights, _ = weights_from_alpha(alpha_from_sdf(sdf, cos, dt, inv_s), samples.offsets)
    seen = accumulate(weights, torch.cat([color_fn(feature, ray, normals), normals, t[:, None]], -1), samples.offsets)
    return SurfaceRender(
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
    )


def alpha_of_distances(
    level_fn: Callable[[Float[Tensor, "samples 3"]], Float[Tensor, "samples"]], inv_s: Float[Tensor, ""]
) -> AlphaFn:
    """Opacities from distances alone, without gradients: slopes are guessed from neighbour to neighbour on a ray.

    The last of several samples in a row takes its slope from the one before; a sample without neighbours has none.
    """

    def alpha(rays: Rays, samples: PackedSamples) -> Float[Tensor, "samples"]:
        ray, dt = samples.ray_index, samples.intervals
        sdf = level_fn(rays.origins[ray] + samples.midpoints[:, None] * rays.directions[ray])
        adjoin = (ray[1:] == ray[:-1]) & (samples.t_starts[1:] - samples.t_ends[:-1] < dt[1:] / 2)
        fall = torch.where(adjoin, (sdf[:-1] - sdf[1:]) / dt[:-1], 0).clamp(0, 1)
        to_next, from_last = F.pad(fall, (0, 1)), F.pad(fall, (1, 0))
        falls = torch.where(F.pad(adjoin, (0, 1)), to_next, from_last)[: len(sdf)]
        return alpha_from_sdf(sdf, -falls, dt, inv_s)

    return alpha
