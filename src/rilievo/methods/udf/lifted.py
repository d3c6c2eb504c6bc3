"""What the second witness saw, as points in the world: depth pictures of all training views, where they agree.

A pixel's plane puts a point on its ray. The point counts if in enough of the nearest other views the depth picture has
the same point; what only one view believes in is mostly wrong. Points of all views are then averaged in small cells, so
that a surface seen sixty times is there once, sixty times as sure. A sheet has two sides: normals are on the one that
more of the views looked at, and it is kept whether the other was looked at, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.engine.view_sampler import Picture, ViewSampler
from rilievo.renderers.patch_blend import nearest_views

from .witness import WitnessModel
from .witness_config import LiftConfig

SOLID = 0.5
"""Opacity and coverage of pixels that show the surface."""
LOOKED_AT = 0.2
"""Share of a cell's pixels that look at one side of the surface from which on that side has been seen."""
COARSE = 5
"""Cells to a side of those whose points stand for the surface where fewer will do."""


@dataclass(frozen=True)
class DepthPicture:
    """A training view as the witness draws it."""

    camera: Cameras
    depth: Float[Tensor, "h w"]
    """Along camera z; 0 where nothing is trusted."""
    normals: Float[Tensor, "h w 3"]
    """Unit, in the world's axes, towards the camera."""
    beside: Bool[Tensor, "h w"]
    """Where the photo shows nothing of the object."""

    def points(self, pixels: Int64[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
        """Where pixels see the surface."""
        rays = self.camera.rays(torch.zeros(len(pixels), dtype=torch.int64), pixels.cpu() + 0.5).to(self.depth.device)
        forward = self.camera.forwards[0].to(rays.directions)
        t = self.depth[pixels[:, 1], pixels[:, 0]] / (rays.directions @ forward)
        return rays.origins + t[:, None] * rays.directions


@dataclass(frozen=True)
class SeenSurface:
    """Points of the surface, in the normalised world."""

    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    """Unit, on the side that was looked at; where both were, on that more views looked at."""
    two_sided: Bool[Tensor, "n"]
    """Whether both sides were looked at."""


@torch.no_grad()
def depth_picture(model: WitnessModel, picture: Picture) -> DepthPicture:
    """The witness's depth and normals of a training view, where it is opaque and the photo shows the object."""
    seen = model(picture.camera)
    shown = (picture.coverage >= 128) & picture.supervised
    trusted = shown.to(seen.alpha.device) & (seen.alpha > SOLID)
    R = picture.camera.cam_from_world[0, :3, :3].to(seen.normals)
    depth, normals = torch.where(trusted, seen.depth, 0), F.normalize(seen.normals, dim=-1) @ R
    beside = (picture.coverage < 128) & picture.supervised
    return DepthPicture(picture.camera, depth, normals, beside.to(depth.device))


def agreement(picture: DepthPicture, points: Float[Tensor, "n 3"], tolerance: float) -> Bool[Tensor, "n"]:
    """Whether a view sees a surface where points are, within a length."""
    pixels, z = picture.camera.project(0, points.double().cpu())
    height, width = picture.depth.shape
    size = torch.tensor([width, height])
    inside = ((pixels >= 0) & (pixels < size)).all(-1) & (z > 0)
    grid = (2 * pixels.nan_to_num(0) / size - 1).to(picture.depth)[None, None]
    known = torch.stack([picture.depth, (picture.depth > 0).to(picture.depth)])[None]
    there, whole = F.grid_sample(known, grid, align_corners=False)[0, :, 0]
    agrees = (there / whole.clamp_min(1e-3) - z.to(there)).abs() < tolerance
    return inside.to(there.device) & (whole > 0.99) & agrees


def depth_pictures(model: WitnessModel, sampler: ViewSampler) -> list[DepthPicture]:
    """Those of all training views."""
    return [depth_picture(model, picture) for picture in sampler.pictures]


def seen_surface(pictures: list[DepthPicture], config: LiftConfig) -> SeenSurface:
    """The points that several views agree on, averaged in cells."""
    centers = torch.cat([picture.camera.centers for picture in pictures])
    forwards = torch.cat([picture.camera.forwards for picture in pictures])
    points, normals = [], []
    for view, picture in enumerate(pictures):
        pixels = (picture.depth > 0).nonzero().flip(-1)
        found = picture.points(pixels)
        others = nearest_views(centers, forwards, view, config.views)
        votes = torch.zeros(len(found), device=found.device)
        for other in others.tolist():
            votes += agreement(pictures[other], found, config.tolerance)
        kept = votes >= min(config.agreeing, len(others))
        points.append(found[kept])
        normals.append(picture.normals[pixels[:, 1], pixels[:, 0]][kept])
    together = torch.cat(points)
    return thinned(together, torch.cat(normals), config.cell, config.support * usual_count(together, config.cell))


def usual_count(points: Float[Tensor, "n 3"], cell: float) -> float:
    """How many points share a cell with a point, in the median; 0 without points."""
    of, count = cells_of(points, cell)
    return float(count[of].double().median()) if len(points) else 0.0


def cells_of(points: Float[Tensor, "n 3"], cell: float) -> tuple[Int64[Tensor, "n"], Int64[Tensor, "c"]]:
    """Which cell of space each point lies in, of those that hold any, and how many each of these holds."""
    if not len(points):
        none = torch.zeros(0, dtype=torch.int64, device=points.device)
        return none, none
    index = (points / cell).floor().long()
    index = index - index.amin(0)
    width, height = (index.amax(0)[:2] + 1).tolist()
    keys = (index[:, 2] * height + index[:, 1]) * width + index[:, 0]
    _, of, count = torch.unique(keys, return_inverse=True, return_counts=True)
    return of, count


def thinned(points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], cell: float, least: float) -> SeenSurface:
    """One point per cell of space that holds at least `least`: their mean, and the mean of their normals, turned
    alike, to where most of them point."""
    of, count = cells_of(points, cell)
    cells = len(count)
    first = torch.full((cells,), len(points), device=of.device).scatter_reduce(
        0, of, torch.arange(len(points), device=of.device), "amin"
    )
    behind = (normals * normals[first][of]).sum(-1) < 0
    share = torch.zeros(cells).to(normals).index_add(0, of, behind.to(normals)) / count
    side = torch.where(behind ^ (share > 0.5)[of], -1.0, 1.0)[:, None].to(normals)
    mean = torch.zeros(cells, 3).to(points).index_add(0, of, points) / count[:, None]
    turned = torch.zeros(cells, 3).to(normals).index_add(0, of, side * normals)
    two_sided = torch.minimum(share, 1 - share) >= LOOKED_AT
    kept = count >= least
    return SeenSurface(mean[kept], F.normalize(turned[kept], dim=-1), two_sided[kept])
