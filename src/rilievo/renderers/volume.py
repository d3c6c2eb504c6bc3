"""Radiance through a volume: density and colour, composited along rays (NeRF, Mildenhall et al. 2020,
arXiv:2003.08934, eq. 3).

Samples come packed (`ops.ray_march`); the fields come as callables. t is the distance along a ray, σ the density.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.cameras.rays import Rays
from rilievo.ops.packed import PackedSamples, offsets_from_ray_index
from rilievo.ops.ray_weights import accumulate, weights_from_alpha, weights_from_density

DensityFn = Callable[[Float[Tensor, "samples 3"]], tuple[Float[Tensor, "samples"], Float[Tensor, "samples features"]]]
"""Points → (σ, feature)."""
ColorFn = Callable[[Float[Tensor, "samples features"], Int64[Tensor, "samples"]], Float[Tensor, "samples 3"]]
"""(feature, index of the ray) → colour seen along that ray."""
MarchFn = Callable[
    [Rays, Float[Tensor, "rays"], Float[Tensor, "rays"], Float[Tensor, "rays"] | None, int], PackedSamples
]
"""(rays, t_min, t_max, jitter, most samples per ray) → intervals worth evaluating."""

AlphaFn = Callable[[Rays, PackedSamples], Float[Tensor, "samples"]]
"""(rays, their samples) → opacities, near enough to tell what can be seen."""

FIRST_BLOCK, LONGEST_BLOCK = 16, 64
"""Samples by which rays are followed at once: few at first, when most rays meet something."""


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
def march_visible(
    rays: Rays,
    t_min: Float[Tensor, "rays"],
    t_max: Float[Tensor, "rays"],
    march: MarchFn,
    alpha_fn: AlphaFn,
    *,
    early_stop: float = 1e-3,
    jitter: Float[Tensor, "rays"] | None = None,
) -> tuple[PackedSamples, int]:
    """The samples that light comes from, and how many were looked at to find them.

    Rays are followed a few samples at a time, and no further once less than `early_stop` of the light is left;
    samples more transparent than that are left out too. Most of what lies behind the first surface is never
    evaluated.
    """
    alive = torch.arange(len(rays), device=t_min.device)
    light = torch.ones_like(t_min)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    looked, block = 0, FIRST_BLOCK
    while len(alive):
        some = rays[alive]
        samples = march(some, t_min, t_max[alive], jitter, block)
        looked += len(samples)
        alpha = alpha_fn(some, samples)
        weights, transmittance = weights_from_alpha(alpha, samples.offsets)
        kept = (light[samples.ray_index] * transmittance > early_stop) & (alpha > early_stop)
        found.append((alive[samples.ray_index[kept]], samples.t_starts[kept], samples.t_ends[kept]))
        light = light * (1 - accumulate(weights, None, samples.offsets)[:, 0])
        going = (samples.counts == block) & (light > early_stop)
        t_min = samples.t_ends[samples.offsets[1:][going] - 1]
        alive, light, jitter, block = alive[going], light[going], None, min(2 * block, LONGEST_BLOCK)
    ray, t_starts, t_ends = (torch.cat(parts) for parts in zip(*found)) if found else (alive, t_min, t_min)
    order = torch.argsort(ray, stable=True)
    offsets = offsets_from_ray_index(ray[order], len(rays))
    return PackedSamples(offsets, t_starts[order], t_ends[order]), looked


def alpha_of_density(density_fn: DensityFn) -> AlphaFn:
    """Opacities of a density that is constant in each interval."""

    def alpha(rays: Rays, samples: PackedSamples) -> Float[Tensor, "samples"]:
        ray = samples.ray_index
        density, _ = density_fn(rays.origins[ray] + samples.midpoints[:, None] * rays.directions[ray])
        return -torch.expm1(-density * samples.intervals)

    return alpha
