"""NeRO's first stage as published: the same number of samples on every ray, inside the unit sphere and beyond.

Along a ray there are first even samples over the two units round the point nearest to the origin, then more where a
surface is (NeuS, arXiv:2106.10689, section 3.3: rounds whose sharpness doubles from 64, capped by the learned one), and
then a few beyond the sphere, even in 1/t. Intervals reach from a sample to the next, and are looked at in their middle;
the last one is as long as the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.fields.inverted_sphere import InvertedSphereNerf, distances_beyond, inverted
from rilievo.ops.ray_weights import accumulate, weights_from_alpha
from rilievo.renderers.alpha import GUARD, alpha_from_sdf, annealed_cos
from rilievo.renderers.occlusion import LevelFn, inverse_cdf
from rilievo.renderers.surface import SdfFn
from rilievo.shading.appearance import Appearance

from .outside import density_alpha, light_color
from .render import ShadeFn

STEEPEST = 1e3
FIRST_SHARPNESS = 64.0


@torch.no_grad()
def sample_ray(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    near: Float[Tensor, "r 1"],
    far: Float[Tensor, "r 1"],
    sdf_fn: LevelFn,
    inv_s: Float[Tensor, ""],
    *,
    even: int,
    more: int,
    rounds: int,
    beyond: int,
) -> Float[Tensor, "r samples"]:
    """Distances along the rays, ascending: `even` + `more` of them to `far`, and `beyond` behind it."""
    t = near + (far - near) * torch.linspace(0, 1, even, dtype=near.dtype, device=near.device)
    sdf = _along(sdf_fn, origins, directions, t)
    for i in range(rounds):
        new = sample_more(origins, directions, t, sdf, more // rounds, inv_s.clamp(max=FIRST_SHARPNESS * 2**i))
        both = torch.cat([t, new], -1)
        t, order = both.sort(dim=-1)
        if i + 1 < rounds:
            sdf = torch.cat([sdf, _along(sdf_fn, origins, directions, new)], -1).gather(-1, order)
    return torch.cat([t, distances_beyond(far[:, 0], beyond, 1 / max(beyond, 1))], -1)


@torch.no_grad()
def sample_more(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    t: Float[Tensor, "r samples"],
    sdf: Float[Tensor, "r samples"],
    count: int,
    inv_s: Float[Tensor, ""],
) -> Float[Tensor, "r count"]:
    """`count` distances where a renderer of that sharpness would see a surface.

    The slope along an interval is the steeper of its own and the one before.
    """
    inside = (origins[:, None] + directions[:, None] * t[..., None]).norm(dim=-1) <= 1
    dt = t.diff(dim=-1)
    slope = sdf.diff(dim=-1) / (dt + GUARD)
    before = torch.nn.functional.pad(slope[:, :-1], (1, 0))
    slope = torch.minimum(before, slope).clamp(-STEEPEST, 0) * (inside[:, :-1] | inside[:, 1:])
    middle = (sdf[:, 1:] + sdf[:, :-1]) / 2
    alpha = alpha_from_sdf(middle.flatten(), slope.flatten(), dt.flatten(), inv_s)
    weights, _ = weights_from_alpha(alpha, _even_offsets(dt))
    return inverse_cdf(t, weights.view_as(dt), count)


@dataclass(frozen=True)
class DenseRender:
    """What rays saw, and at every sample in the unit ball what the losses ask for."""

    rgb: Float[Tensor, "r 3"]
    weights: Float[Tensor, "r samples"]
    inner: Bool[Tensor, "r samples"]
    """Which samples are in the unit ball; the rest of the fields has a row for each of them, ray by ray."""
    points: Float[Tensor, "inner 3"]
    directions: Float[Tensor, "inner 3"]
    sdf: Float[Tensor, "inner"]
    sdf_grad: Float[Tensor, "inner 3"]
    appearance: Appearance
    all_points: Float[Tensor, "n 3"]
    """Of all samples, inside and out."""
    opacity: Float[Tensor, "r"]
    """Weight of the samples in the ball."""
    distance: Float[Tensor, "r"]
    """Σ w t over these."""
    normals: Float[Tensor, "r 3"]
    """Σ w n over these."""

    @property
    def n_samples(self) -> int:
        return self.inner.numel()


def render_dense(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    t: Float[Tensor, "r samples"],
    sdf_fn: SdfFn,
    shade_fn: ShadeFn,
    outside: InvertedSphereNerf,
    inv_s: Float[Tensor, ""],
    cos_anneal: float,
) -> DenseRender:
    """Composite the surface within the unit sphere and the world beyond. The slope along a ray is that of the gradient
    as it is, not made unit."""
    dt = t.diff(dim=-1)
    dt = torch.cat([dt, dt[:, -1:]], -1)
    points = origins[:, None] + directions[:, None] * (t + dt / 2)[..., None]
    inner = points.norm(dim=-1) <= 1
    ray = inner.nonzero()[:, 0]
    within, heading = points[inner], directions[ray]
    sdf, gradient, feature = sdf_fn(within)
    cos = annealed_cos((heading * gradient).sum(-1), cos_anneal)
    appearance = shade_fn(within, gradient, feature, ray)
    beyond = ~inner
    raw, light = outside(inverted(points[beyond]), -directions[beyond.nonzero()[:, 0]])
    alpha = points.new_zeros(t.shape).masked_scatter(inner, alpha_from_sdf(sdf, cos, dt[inner], inv_s))
    alpha = alpha.masked_scatter(beyond, density_alpha(raw, dt[beyond]))
    color = torch.zeros_like(points).masked_scatter(inner[..., None], appearance.rgb)
    color = color.masked_scatter(beyond[..., None], light_color(light))
    offsets = _even_offsets(t)
    weights, _ = weights_from_alpha(alpha.flatten(), offsets)
    middle = (t + dt / 2)[..., None]
    normals = torch.zeros_like(points).masked_scatter(inner[..., None], F.normalize(gradient, dim=-1))
    shown = torch.cat([color, torch.cat([torch.ones_like(middle), middle, normals], -1) * inner[..., None]], -1)
    seen = accumulate(weights, shown.flatten(0, 1), offsets)
    return DenseRender(
        rgb=seen[:, :3],
        weights=weights.view_as(t),
        inner=inner,
        points=within,
        directions=heading,
        sdf=sdf,
        sdf_grad=gradient,
        appearance=appearance,
        all_points=points.flatten(0, 1),
        opacity=seen[:, 3],
        distance=seen[:, 4],
        normals=seen[:, 5:],
    )


def _along(sdf_fn: LevelFn, origins: Tensor, directions: Tensor, t: Tensor) -> Tensor:
    points = origins[:, None] + directions[:, None] * t[..., None]
    return sdf_fn(points.flatten(0, 1)).view_as(t)


def _even_offsets(values: Tensor) -> Tensor:
    rays, samples = values.shape
    return torch.arange(rays + 1, device=values.device) * samples
