"""What Gaussians teach a field by themselves, as published: points pulled to them, and heights over their discs
(GaussianUDF, Li et al. 2025, arXiv:2503.19458, section 3, eq. 6 and 7).

`guide` teaches with the points that several views of trained Gaussians agree on; here every Gaussian is believed, where
it is now. Draws of a process are a share of those of all.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.fields.udf import UdfField
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.geometry.box import Box
from rilievo.geometry.so3 import matrix_from_quaternion
from rilievo.losses.gaussian_udf import height_error, nearest_points, pulled, raised, two_way_distance

from .config import PullConfig

LARGE = 3.0
"""Discs this many times as large as the mean are drawn from twice, or their points would be sparse."""


def within(cloud: GaussianCloud, radius: float) -> GaussianCloud:
    """The Gaussians whose centres lie in the cube [-radius, radius]³."""
    return cloud[Box.cube(radius, cloud.means).contains(cloud.means)]


def pulled_points(
    centers: Float[Tensor, "g 3"], config: PullConfig, radius: float, generator: torch.Generator
) -> Float[Tensor, "n 3"]:
    """Where the field is asked: close to the Gaussians, and around them or anywhere in the cube [-radius, radius]³."""
    if config.wide_spread > 0:
        wide = scattered(centers, config.wide_points, config.wide_spread, generator)
    else:
        wide = (torch.rand(config.wide_points, 3, generator=generator).to(centers) * 2 - 1) * radius
    return torch.cat([scattered(centers, config.close_points, config.close_spread, generator), wide])


def scattered(
    centers: Float[Tensor, "g 3"], count: int, deviation: float, generator: torch.Generator
) -> Float[Tensor, "n 3"]:
    """`count` points round Gaussians chosen evenly."""
    chosen = torch.randint(len(centers), (count,), generator=generator).to(centers.device)
    return centers.detach()[chosen] + torch.randn(count, 3, generator=generator).to(centers) * deviation


def far_error(
    field: UdfField, points: Float[Tensor, "n 3"], centers: Float[Tensor, "g 3"]
) -> tuple[Float[Tensor, ""], Int64[Tensor, "n"]]:
    """How far points pulled by the field end from the Gaussians nearest to them, and which those are. Teaches the
    field alone."""
    nearest = nearest_points(points, centers)
    said = field(points)
    return two_way_distance(pulled(points, said.udf, said.gradient), centers.detach()[nearest]), nearest


def drawn_discs(cloud: GaussianCloud, count: int, generator: torch.Generator) -> Int64[Tensor, "n"]:
    """`count` Gaussians chosen evenly, and again those of them that are large."""
    chosen = torch.randint(len(cloud), (count,), generator=generator).to(cloud.means.device)
    size = cloud.scales.detach().amax(dim=-1)
    return torch.cat([chosen, chosen[size[chosen] > LARGE * size.mean()]])


def points_on_discs(
    discs: GaussianCloud, each: int, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """`each` points in the plane of every disc, distributed as the Gaussian is, and the discs' unit normals; both
    differentiable."""
    R = matrix_from_quaternion(discs.quats)
    aside = torch.randn(len(discs), each, 2, generator=generator).to(R) * discs.scales[:, None, :2]
    points = discs.means[:, None] + (aside[:, :, None] * R[:, None, :, :2]).sum(-1)
    normals = R[:, None, :, 2].expand_as(points)
    return points.flatten(0, 1), normals.flatten(0, 1)


def disc_error(
    field: UdfField, discs: GaussianCloud, config: PullConfig, generator: torch.Generator
) -> Float[Tensor, "n"]:
    """|u - δ| of points at random heights δ up to `config.height` on both sides of discs. Teaches field and Gaussians
    alike."""
    points, normals = points_on_discs(discs, config.points_each, generator)
    above, below = (torch.rand(len(points), generator=generator).to(points) * config.height for _ in range(2))
    height = torch.cat([above, -below])
    both = raised(torch.cat([points, points]), torch.cat([normals, normals]), height)
    return height_error(field.udf(both), height)
