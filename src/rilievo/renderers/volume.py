"""Radiance through a volume: density and colour, composited along rays (NeRF, Mildenhall et al. 2020,
arXiv:2003.08934, eq. 3).

Samples come packed (`ops.ray_march`); the fields come as callables. t is the distance along a ray, σ the density.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.cameras.rays import Rays
from rilievo.ops.packed import PackedSamples, offsets_from_ray_index
from rilievo.ops.ray_weights import accumulate, visible, weights_from_density

DensityFn = Callable[[Float[Tensor, "samples 3"]], tuple[Float[Tensor, "samples"], Float[Tensor, "samples features"]]]
"""Points → (σ, feature)."""
ColorFn = Callable[[Float[Tensor, "samples features"], Int64[Tensor, "samples"]], Float[Tensor, "samples 3"]]
"""(feature, index of the ray) → colour seen along that ray."""


@dataclass(frozen=True)
class VolumeRender:
    """Per ray what was composited, per sample what the losses ask for."""

    rgb: Float[Tensor, "rays 3"]
    """Without any background: multiply what lies behind by 1 − opacity and add."""
    opacity: Float[Tensor, "rays"]
    distance: Float[Tensor, "rays"]
    """Σ w t, not divided by the opacity."""
    weights: Float[Tensor, "samples"]
    midpoints: Float[Tensor, "samples"]
    intervals: Float[Tensor, "samples"]
    offsets: Int64[Tensor, "rays_plus_one"]


def render_volume(rays: Rays, samples: PackedSamples, density_fn: DensityFn, color_fn: ColorFn) -> VolumeRender:
    """Composite density and colour over packed samples, at the intervals' midpoints."""
    ray, t = samples.ray_index, samples.midpoints
    density, feature = density_fn(rays.origins[ray] + t[:, None] * rays.directions[ray])
    rgb = color_fn(feature, ray)
    weights, _ = weights_from_density(density, samples.t_starts, samples.t_ends, samples.offsets)
    return VolumeRender(
        rgb=accumulate(weights, rgb, samples.offsets),
        opacity=accumulate(weights, None, samples.offsets)[:, 0],
        distance=accumulate(weights, t[:, None], samples.offsets)[:, 0],
        weights=weights,
        midpoints=t,
        intervals=samples.intervals,
        offsets=samples.offsets,
    )


@torch.no_grad()
def drop_hidden(
    rays: Rays, samples: PackedSamples, density_fn: DensityFn, *, early_stop: float = 1e-3, threshold: float = 1e-3
) -> PackedSamples:
    """Without those samples that contribute next to nothing: too thin, or behind what already stops all light."""
    ray = samples.ray_index
    density, _ = density_fn(rays.origins[ray] + samples.midpoints[:, None] * rays.directions[ray])
    alpha = -torch.expm1(-density * samples.intervals)
    return keep(samples, visible(alpha, samples.offsets, early_stop, threshold))


def keep(samples: PackedSamples, kept: Bool[Tensor, "samples"]) -> PackedSamples:
    """The chosen samples, in the same order."""
    offsets = offsets_from_ray_index(samples.ray_index[kept], len(samples.offsets) - 1)
    return PackedSamples(offsets, samples.t_starts[kept], samples.t_ends[kept])
