"""Where along a ray to look again: more samples near the surfaces of an unsigned distance (NeuralUDF, arXiv:2211.14173,
section 3.4).

Two ways. *First surface*: opacities as in rendering, with slopes taken from neighbouring samples, so that samples
gather where the ray first meets something. *All surfaces*: wherever u is small, also behind; u shows no change of sign,
so that a first surface found too early would otherwise hide the true one for good. Rounds sharpen by doubling `inv_s`
and β.

t is the distance along a ray, ascending; nothing here is differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.ops.packed import PackedSamples

from .alpha import alpha_from_sdf
from .udf_alpha import crossing_alpha, light_left, passing_share, weights_along

UdfAlongFn = Callable[[Float[Tensor, "rays new"]], Float[Tensor, "rays new"]]
"""Distances t → u at the points there."""
InsideFn = Callable[[Float[Tensor, "rays samples"]], Bool[Tensor, "rays samples"]]
"""Distances t → whether the points there are in the region of interest."""

FIRST_SHARPNESS = 64.0
"""`inv_s` of the first round; β is twice it, or the surface found is biased towards the eye."""

FLOOR = 1e-5
"""Weight of an interval where there is nothing, and the least difference that the inverse CDF divides by."""

RISING = 0.05
STEEPEST = 1e3


class UpsamplingKind(StrEnum):
    """Which surfaces extra samples go to."""

    CLASSICAL = "classical"
    """The first, every round."""
    MIX = "mix"
    """All of them, and the first in a last round."""


@torch.no_grad()
def upsampled(
    t: Float[Tensor, "rays samples"],
    udf_along: UdfAlongFn,
    inside: InsideFn,
    *,
    last_dt: float,
    count: int,
    rounds: int,
    kind: UpsamplingKind,
    gamma: float,
) -> Float[Tensor, "rays more"]:
    """The samples t and about `count` more, sorted.

    `last_dt` is the length given to the last interval; `gamma`, the one learned, counts in rounds towards all surfaces.
    `count` is divided evenly among the rounds (one more for MIX); what
    does not divide is left out.
    """
    udf = udf_along(t)
    mixed = kind is UpsamplingKind.MIX
    share = count // (rounds + mixed)
    for i in range(rounds):
        inv_s = FIRST_SHARPNESS * 2**i
        if mixed:
            new = near_all_surfaces(t, udf, last_dt, share, 2 * inv_s, gamma)
        else:
            sharp = min(max(20.0 * 2 ** (rounds - i), 20.0), 320.0)
            new = near_first_surface(t, udf, inside(t), last_dt, share, inv_s, 2 * inv_s, sharp)
        t, udf = merged(t, udf, new, udf_along(new))
    if mixed:
        inv_s = FIRST_SHARPNESS * 2 ** (rounds - 1)
        gentle = 20.0 if rounds <= 4 else 10.0
        new = near_first_surface(t, udf, inside(t), last_dt, share, inv_s, 2 * inv_s, gentle)
        t = torch.cat([t, new], dim=1).sort(dim=1).values
    return t


def near_first_surface(
    t: Float[Tensor, "rays samples"],
    udf: Float[Tensor, "rays samples"],
    inside: Bool[Tensor, "rays samples"],
    last_dt: float,
    count: int,
    inv_s: float,
    beta: float,
    gamma: float,
) -> Float[Tensor, "rays new"]:
    """`count` distances where a renderer of sharpness `inv_s` would see the surface."""
    dt = t.diff(dim=1)
    slope = udf.diff(dim=1) / (dt + FLOOR)
    fall = -slope.abs()
    fall = torch.minimum(torch.nn.functional.pad(fall[:, :-1], (1, 0)), fall)  # a kink hides the slope of one side
    fall = fall.clamp(-STEEPEST, 0) * (inside[:, :-1] | inside[:, 1:])
    crossing = crossing_alpha(udf, _intervals(t, last_dt), beta, gamma)
    forgiven = torch.cat([torch.ones_like(slope[:, :1], dtype=torch.bool), slope < RISING], dim=1)
    # Not held at 1 as in rendering: as published, the excess decides where samples go on rays that meet nothing.
    visible = light_left(passing_share(crossing, forgiven, 1.0))[:, :-1]
    middle = ((udf[:, :-1] + udf[:, 1:]) / 2).reshape(-1)
    sharpness = torch.as_tensor(inv_s, dtype=t.dtype, device=t.device)
    before, behind = (
        alpha_from_sdf(f, fall.reshape(-1), dt.reshape(-1), sharpness).view_as(dt) for f in (middle, -middle)
    )
    alpha = before * visible + behind * (1 - visible)
    return drawn_evenly(t, weights_along(alpha), count)


def near_all_surfaces(
    t: Float[Tensor, "rays samples"],
    udf: Float[Tensor, "rays samples"],
    last_dt: float,
    count: int,
    beta: float,
    gamma: float,
) -> Float[Tensor, "rays new"]:
    """`count` distances wherever u is small, hidden or not."""
    crossing = crossing_alpha(udf, _intervals(t, last_dt), beta, gamma)
    return drawn_evenly(t, crossing[:, :-1], count)


def drawn_evenly(
    edges: Float[Tensor, "rays edges"], weights: Float[Tensor, "rays bins"], count: int
) -> Float[Tensor, "rays new"]:
    """`count` quantiles of a piecewise constant density, at the middles of `count` equal shares (NeRF,
    arXiv:2003.08934, section 5.2)."""
    pdf = weights + FLOOR
    cdf = torch.nn.functional.pad((pdf / pdf.sum(dim=1, keepdim=True)).cumsum(dim=1), (1, 0))
    share = 0.5 / count
    at = torch.linspace(share, 1 - share, count, dtype=edges.dtype, device=edges.device).expand(len(edges), -1)
    upper = torch.searchsorted(cdf, at.contiguous(), right=True)
    lower = (upper - 1).clamp_min(0)
    upper = upper.clamp_max(cdf.shape[1] - 1)
    below, above = cdf.gather(1, lower), cdf.gather(1, upper)
    width = above - below
    fraction = (at - below) / torch.where(width < FLOOR, 1, width)
    start = edges.gather(1, lower)
    return start + fraction * (edges.gather(1, upper) - start)


def merged(
    t: Float[Tensor, "rays samples"],
    udf: Float[Tensor, "rays samples"],
    new_t: Float[Tensor, "rays new"],
    new_udf: Float[Tensor, "rays new"],
) -> tuple[Float[Tensor, "rays all"], Float[Tensor, "rays all"]]:
    """Both sets of samples in order of distance."""
    t, order = torch.cat([t, new_t], dim=1).sort(dim=1)
    return t, torch.cat([udf, new_udf], dim=1).gather(1, order)


def packed(
    t: Float[Tensor, "hit samples"], last_dt: Float[Tensor, "hit 1"], hit: Bool[Tensor, "rays"]
) -> PackedSamples:
    """Intervals that begin at `t`, for the rays that hit the region; the others have none."""
    ends = torch.cat([t[:, 1:], t[:, -1:] + last_dt], dim=1)
    counts = hit.long() * t.shape[1]
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    return PackedSamples(offsets, t.reshape(-1), ends.reshape(-1))


def _intervals(t: Float[Tensor, "rays samples"], last_dt: float) -> Float[Tensor, "rays samples"]:
    return torch.nn.functional.pad(t.diff(dim=1), (0, 1), value=last_dt)
