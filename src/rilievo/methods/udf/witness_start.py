"""The first discs: at points that photographs agree on, within what all masks leave of space."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.engine.photo_points import AgreedPoints, agreed_points
from rilievo.engine.ray_sampler import step_seed
from rilievo.engine.view_sampler import ViewSampler
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.spacing import neighbour_distance

from .other_views import OtherViews
from .patch_match import search
from .witness import flat_cloud
from .witness_config import GaussiansConfig

LARGEST = 0.05
"""No disc starts larger than this, in region radii."""
BESIDE = 13
"""Coverage, of 255, of a pixel that shows nothing of the object."""
FEW = 100
"""Fewer discs than this are no start; those that look unlike are kept, too."""
FAR = 1.0
"""Farthest guess behind the region's centre where nothing bounds it, in region radii."""


def first_discs(config: GaussiansConfig, sampler: ViewSampler, others: OtherViews, seed: int) -> GaussianCloud:
    """The cloud that training starts from; discs lie in planes that look alike in several pictures."""
    generator = torch.Generator().manual_seed(step_seed(seed + 2, 0))
    agreed = agreed_points(sampler, config.count, depths=config.depths, far=FAR, generator=generator)
    points, normals, error = refined(agreed, others, config, generator)
    kept = in_hull(points, sampler)
    kept = kept if bool(kept.any()) else torch.ones_like(kept)
    alike = kept & (error < config.unlike)
    kept = alike if int(alike.sum()) >= FEW else kept
    points = points[kept]
    radii = neighbour_distance(points).clamp_max(LARGEST)
    return flat_cloud(points, agreed.rgb[kept], normals[kept], radii, config.sh_degree, config.opacity)


def one_disc(config: GaussiansConfig) -> GaussianCloud:
    """A disc of no meaning, whose tensors have the shapes of the others."""
    ahead = torch.tensor([[0.0, 0.0, 1.0]])
    return flat_cloud(torch.zeros(1, 3), torch.zeros(1, 3), ahead, torch.ones(1), config.sh_degree, config.opacity)


def refined(
    agreed: AgreedPoints, others: OtherViews, config: GaussiansConfig, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Points on the same pixels where a plane looks alike in other pictures, its normals towards the camera, and how
    unlike it still looks."""
    points, normals, error = agreed.xyz.clone(), agreed.towards.clone(), torch.ones(len(agreed.xyz))
    for i, picture in enumerate(others.pictures.values()):
        own = (agreed.picture == i).nonzero()[:, 0]
        camera = picture.camera
        pixels, _ = camera.project(0, agreed.xyz[own].double())
        size = camera.sizes_px[0]
        pixels = torch.minimum(pixels.floor().long().clamp_min(0), size - 1)
        rays = camera.rays(torch.zeros(len(own), dtype=torch.int64), pixels + 0.5)
        t = torch.linalg.vector_norm(agreed.xyz[own] - rays.origins, dim=-1)
        plane = search(
            others,
            picture.view,
            pixels,
            t,
            reach=config.reach,
            rounds=config.rounds,
            half=config.half_patch,
            generator=generator,
        )
        points[own] = rays.at(plane.t)
        normals[own] = plane.normals @ camera.cam_from_world[0, :3, :3].float()
        error[own] = plane.error
    return points, normals, error


def in_hull(points: Float[Tensor, "n 3"], sampler: ViewSampler) -> Bool[Tensor, "n"]:
    """Which points no training picture sees beside the object; points outside a picture are not judged by it."""
    inside = torch.ones(len(points), dtype=torch.bool)
    for picture in sampler.pictures:
        pixels, depth = picture.camera.project(0, points.double())
        height, width = picture.coverage.shape
        column, row = pixels.nan_to_num(-1).floor().long().unbind(-1)
        seen = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        covered = picture.coverage[row.clamp(0, height - 1), column.clamp(0, width - 1)] >= BESIDE
        inside &= ~seen | covered
    return inside
