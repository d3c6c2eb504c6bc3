"""What NeRO asks of a glossy object beside its photos (Liu et al. 2023, arXiv:2305.17398, section 3.4), per sample.

`start_outside` and `start_inside` hold the first thousand steps of the first stage: empty beyond the unit sphere,
matter at its centre. The second stage asks that materials change little and do not saturate.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

EncodeFn = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]
"""Linear light → what a photo holds of it."""

OUTER_RADIUS, INNER_RADIUS = 1.05, 0.1
VISIBLE = 1e-5
"""Smaller violations do not count among those averaged."""
COUNT_GUARD = 1e-3
SATURATED = (0.02, 0.98)
SAME = 1e-3
"""Differences of linear colours below it have the slope of this one."""


def start_weight(step: int, steps: int = 1000) -> float:
    """Half a cosine from 1 to 0: the weight of both start terms."""
    return (math.cos(math.pi * min(step / steps, 1.0)) + 1) / 2


def start_outside(points: Float[Tensor, "n 3"], sdf: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean over violations: beyond radius 1.05 the distance is at least the height above that sphere."""
    length = points.norm(dim=-1)
    short = (length - OUTER_RADIUS - sdf).clamp_min(0) * (length > OUTER_RADIUS)
    return short.sum() / ((short > VISIBLE).sum() + COUNT_GUARD)


def start_inside(points: Float[Tensor, "n 3"], sdf: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Within 0.1 of the centre the distance is at most the (negative) height above that sphere.

    As published, the violations are averaged over all points in there before they are divided by their number, which
    is then one.
    """
    length = points.norm(dim=-1)
    within = length < INNER_RADIUS
    excess = ((sdf - (length - INNER_RADIUS)).clamp_min(0) * within).sum() / within.sum().clamp_min(1)
    return excess / ((excess > VISIBLE) + COUNT_GUARD)


def occlusion(predicted: Float[Tensor, "n 1"], marched: Float[Tensor, "n 1"]) -> Float[Tensor, "n"]:
    """|predicted - marched|: the network against the distance field it stands for."""
    return (predicted - marched).abs()[:, 0]


def colorless_light(light: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Σ |channel - mean|: diffuse light is nearly white, so that colour goes to the albedo."""
    return (light - light.mean(-1, keepdim=True)).abs().sum(-1)


def material_change(
    albedo: tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]],
    metallic: tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]],
    alpha_ggx: tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]],
) -> Float[Tensor, "n"]:
    """How much a material changes over a small step along the surface: of each pair one value is from here and one from
    there. Metallic and α count with each colour, as published.
    """
    (a, b), (m, n), (r, s) = albedo, metallic, alpha_ggx
    return ((m - n).abs() + (r - s).abs() + (a - b).abs()).mean(-1)


def saturated_material(metallic: Float[Tensor, "n 1"], alpha_ggx: Float[Tensor, "n 1"]) -> Float[Tensor, ""]:
    """What metallic exceeds [0.02, 0.98] by, and α the squares of these; a sigmoid that has gone there learns no more.

    A sum over points, as published.
    """
    low, high = SATURATED

    def beyond(value: Tensor, least: float, most: float) -> Tensor:
        return ((value - most).clamp_min(0) + (least - value).clamp_min(0)).sum()

    return beyond(alpha_ggx, low**2, high**2) + beyond(metallic, low, high)


def undecided(metallic: Float[Tensor, "n 1"]) -> Float[Tensor, "n"]:
    """4 m (1 - m): things are metal or they are not; what is between is a border, or a guess that fits by chance."""
    return (4 * metallic * (1 - metallic))[:, 0]


def paired_error(
    first: Float[Tensor, "n 3"], second: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"], encode: EncodeFn
) -> Float[Tensor, "n"]:
    """The squared colour error of two independent estimates of one linear colour `target`, without their noise.

    The mean square of a noisy error is the square of its mean and the variance, and whoever makes it small also makes
    whatever scatters little: soft light, matte things. The product of two independent errors has no variance in it:

        Σ w² (a - t)(b - t),     t the target

    w, not differentiated, is the slope of the curve `encode` by which photos hold light, between the mean of both and
    t, so that w (a - t) is an error as pixels have it. Single values may be below 0.
    """
    with torch.no_grad():
        mean = (first + second) / 2
        near = (mean - target).abs() < SAME
        mean = torch.where(near, target - SAME * torch.where(target > 0.5, 1.0, -1.0).to(target), mean)
        slope = (encode(mean) - encode(target)) / (mean - target)
    return (slope.square() * (first - target) * (second - target)).sum(-1)
