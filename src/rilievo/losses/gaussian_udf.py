"""What Gaussians and an unsigned distance owe each other (GaussianUDF, Li et al. 2025, arXiv:2503.19458, section 3).

* far: points off the surface, pulled by -u ∇u/|∇u|, arrive where Gaussians are (eq. 6);
* projection: Gaussians lie on the field's zero set (eq. 5);
* near: a point raised δ off a Gaussian's disc has u = δ, which is what ∇u and u teach each other close to the surface,
  where neither pulls (eq. 7);
* views: what a Gaussian's plane shows in one photograph, it shows in the others.

Values per point or patch; whoever trains takes the mean.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

SMALLEST_SQUARE = 1e-5
"""Added to squared distances under the root, whose slope would be infinite at 0."""

PAIRS_AT_ONCE = 1 << 24


def pulled(
    points: Float[Tensor, "n 3"], udf: Float[Tensor, "n"], gradient: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """Points moved to where the field has its surface."""
    return points - udf[:, None] * torch.nn.functional.normalize(gradient, dim=-1)


def nearest_points(points: Float[Tensor, "n 3"], among: Float[Tensor, "m 3"]) -> Int64[Tensor, "n"]:
    """Index of the nearest of `among` to each point."""
    chunk = max(1, PAIRS_AT_ONCE // max(1, len(among)))
    return torch.cat([torch.cdist(part.detach(), among.detach()).argmin(dim=1) for part in points.split(chunk)])


def two_way_distance(a: Float[Tensor, "n 3"], b: Float[Tensor, "m 3"]) -> Float[Tensor, ""]:
    """Half the sum of both mean distances √(d² + 1e-5) to the nearest of the other set; differentiable in both."""
    there = (a - b[nearest_points(a, b)]).square().sum(-1)
    back = (b - a[nearest_points(b, a)]).square().sum(-1)
    return ((there + SMALLEST_SQUARE).sqrt().mean() + (back + SMALLEST_SQUARE).sqrt().mean()) / 2


def projection_distance(
    centers: Float[Tensor, "n 3"], udf: Float[Tensor, "n"], gradient: Float[Tensor, "n 3"]
) -> Float[Tensor, "n"]:
    """Distance of Gaussians from where the field would have them; the field is not taught by it."""
    return (centers - pulled(centers, udf, gradient).detach()).norm(dim=-1)


def raised(
    on_disc: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], height: Float[Tensor, "n"]
) -> Float[Tensor, "n 3"]:
    """Points at a height of either sign over the discs; there u should be |height|."""
    return on_disc + height[:, None] * normals


def height_error(udf: Float[Tensor, "n"], height: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """|u - |δ|| of points raised by δ."""
    return (udf - height.abs()).abs()


def best_view_ncc(
    reference: Float[Tensor, "n pixels"], sources: Float[Tensor, "views n pixels"], best: int = 4
) -> Float[Tensor, "n"]:
    """1 - squared correlation of grey patches, in [0, 1], averaged over the `best` views, which see them unoccluded
    (GIPUMA, Galliani et al. 2015; Geo-Neus, arXiv:2205.15848, eq. 13)."""
    a = reference - reference.mean(-1, keepdim=True)
    b = sources - sources.mean(-1, keepdim=True)
    correlation = (a * b).sum(-1).square() / (a.square().sum(-1) * b.square().sum(-1) + SMALLEST_SQUARE)
    worse = (1 - correlation).clamp(0, 2)
    return worse.topk(min(best, len(sources)), dim=0, largest=False).values.mean(0)
