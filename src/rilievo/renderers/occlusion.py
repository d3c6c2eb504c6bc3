"""How likely a ray that starts on a distance field's surface meets the surface again (NeRO, section 3.3).

The ray is followed to the unit sphere: first at even steps, then at steps drawn where the first found weight. The
opacity of a step is NeuS's, with the slope measured between its ends; only steps along which the distance falls count.
The sum of the weights is the probability. Nothing here is differentiable: it is what the network for the occlusion is
compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.ops.ray_weights import weights_from_alpha
from rilievo.shading.ray_sphere import JUST_INSIDE, exit_distance

from .alpha import alpha_from_sdf

LevelFn = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]
"""Points → signed distance."""
SLOPE_GUARD, WEIGHT_FLOOR = 1e-5, 1e-5


@dataclass(frozen=True)
class Crossings:
    """Weights of the steps of each ray; rays from outside the unit ball have none."""

    t: Float[Tensor, "rays steps"]
    """Middles of the steps."""
    weights: Float[Tensor, "rays steps"]
    sdf: Float[Tensor, "rays steps"]
    """Mean distance over each step; -1 where the distance does not fall."""

    @property
    def probability(self) -> Float[Tensor, "rays 1"]:
        """Of meeting a surface at all."""
        return self.weights.sum(-1, keepdim=True)


@torch.no_grad()
def find_crossings(
    points: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    sdf_fn: LevelFn,
    inv_s: Float[Tensor, ""],
    even_steps: int = 64,
    drawn_steps: int = 16,
) -> Crossings:
    """Follow rays from points in the unit ball; `drawn_steps - 1` steps come back."""
    inside = points.norm(dim=-1) < JUST_INSIDE
    t = points.new_zeros(len(points), drawn_steps - 1)
    weights, sdf = torch.zeros_like(t), torch.full_like(t, -1.0)
    if bool(inside.any()):
        start, heading = points[inside], directions[inside]
        even = torch.linspace(0, 1, even_steps, dtype=points.dtype, device=points.device)
        edges = exit_distance(start, heading) * even
        first, _ = step_weights(edges, start, heading, sdf_fn, inv_s)
        drawn = inverse_cdf(edges, first, drawn_steps)
        weights[inside], sdf[inside] = step_weights(drawn, start, heading, sdf_fn, inv_s)
        t[inside] = (drawn[:, 1:] + drawn[:, :-1]) / 2
    return Crossings(t, weights, sdf)


def step_weights(
    edges: Float[Tensor, "rays edges"],
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    sdf_fn: LevelFn,
    inv_s: Float[Tensor, ""],
) -> tuple[Float[Tensor, "rays steps"], Float[Tensor, "rays steps"]]:
    """Weights of the steps between edges, and the mean distance of each; both as in `Crossings`."""
    rays, count = edges.shape
    points = origins[:, None] + edges[..., None] * directions[:, None]
    sdf = sdf_fn(points.flatten(0, 1)).view(rays, count)
    dt, middle = edges.diff(dim=-1), (sdf[:, 1:] + sdf[:, :-1]) / 2
    slope = sdf.diff(dim=-1) / (dt + SLOPE_GUARD)
    falls = slope < 0
    alpha = alpha_from_sdf(middle.flatten(), slope.clamp(max=0).flatten(), dt.flatten(), inv_s) * falls.flatten()
    offsets = torch.arange(rays + 1, device=edges.device) * (count - 1)
    weights, _ = weights_from_alpha(alpha, offsets)
    return weights.view(rays, count - 1), torch.where(falls, middle, -1.0)


def inverse_cdf(
    edges: Float[Tensor, "rays edges"], weights: Float[Tensor, "rays steps"], count: int
) -> Float[Tensor, "rays count"]:
    """`count` places per ray at even shares of the weight between the edges (NeRF, arXiv:2003.08934, section 5.2).

    Every step keeps a weight of at least 1e-5, so that rays without weight are sampled evenly.
    """
    share = weights + WEIGHT_FLOOR
    cdf = torch.nn.functional.pad((share / share.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    half = 0.5 / count
    even = torch.linspace(half, 1 - half, count, dtype=edges.dtype, device=edges.device)
    even = even.expand(len(edges), count).contiguous()
    above = torch.searchsorted(cdf, even, right=True).clamp(1, edges.shape[1] - 1)
    low, high = cdf.gather(-1, above - 1), cdf.gather(-1, above)
    gap = high - low
    passed = (even - low) / torch.where(gap < WEIGHT_FLOOR, 1.0, gap)
    start, end = edges.gather(-1, above - 1), edges.gather(-1, above)
    return start + passed * (end - start)


def counts_for_occlusion(
    points: Float[Tensor, "n 3"],
    sdf: Float[Tensor, "n"],
    gradients: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    max_distance: float,
) -> Bool[Tensor, "n"]:
    """Which samples of camera rays the occlusion is learned at: in the ball, within `max_distance` of the surface,
    where the ray enters.
    """
    entering = (gradients * directions).sum(-1) < 0
    return (points.norm(dim=-1) < JUST_INSIDE) & (sdf.abs() < max_distance) & entering
