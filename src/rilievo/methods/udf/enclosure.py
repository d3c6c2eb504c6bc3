"""Which seen points have the inside of something behind them, and which are of a sheet with another side.

Where photographs looked at one side alone there may be either. Inside of a closed surface there is surface nearly all
round, seen from without: the winding number of what was seen is close to one there, and a half behind a flat sheet
(Barill et al. 2018, "Fast winding numbers for soups and clouds", eq. 2). It is as large within a roll of cloth, but
some view looks into that. Hence a point is *enclosed* if the space behind it is inside by its winding number and, as
far as it is, no view looks through it. The points of a neighbourhood vote on it.

What no photograph shows, an underside, makes no difference: what stands on a table is closed.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from .lifted import COARSE, DepthPicture, SeenSurface, thinned

BEHIND = 0.02
"""Depth, in region radii, at which it is asked whether there is surface all round."""
WOUND = 0.7
"""Winding number from which on it is inside."""
DEPTHS = tuple(0.02 * i for i in range(1, 8))
"""At which nothing that is inside may be looked through, in region radii."""
MARGIN = 0.01
"""Lengths, in region radii, by which a point is in front of what a view looks at through it."""
SPACING = 0.02
"""Radius in which points are counted to tell how much surface each stands for."""
NEIGHBOURS = 0.25
"""Radius in which points vote."""
PAIRS_AT_ONCE = 1 << 23
"""Of points asked about and points seen, whose distances are held in memory together."""
NEAREST = BEHIND / 4
"""Seen points count as no nearer than this: each stands for a patch, not for a peak."""


def enclosed(seen: SeenSurface, pictures: list[DepthPicture], cell: float) -> Bool[Tensor, "n"]:
    """Whether what lies behind each point, on the other side than its normal, is the inside of something.

    `pictures` are of all training views; `cell` is the side of the cells that `seen` has one point of, in region radii.
    """
    some = thinned(seen.points, seen.normals, COARSE * cell, 1.0)
    one_sided = (~some.two_sided).nonzero()[:, 0]
    verdict = torch.zeros(len(some.points), dtype=torch.bool)
    if len(one_sided):
        points, normals, around = some.points[one_sided], some.normals[one_sided], OneSided(seen)
        wound = around.winding_numbers(points - BEHIND * normals) > WOUND
        hidden = ~looked_into(points, normals, around, pictures)
        verdict[one_sided.cpu()] = voted(points, (wound & hidden).cpu())
    nearest = KDTree(some.points.cpu().numpy()).query(seen.points.cpu().numpy())[1]
    return verdict[torch.from_numpy(nearest)].to(seen.points.device) & ~seen.two_sided


class OneSided:
    """What was seen from one side alone, as a surface that goes round points: each point of it with an area."""

    def __init__(self, seen: SeenSurface) -> None:
        self.points = seen.points[~seen.two_sided]
        at = self.points.cpu().numpy()
        count = torch.from_numpy(KDTree(at).query_ball_point(at, SPACING, return_length=True))
        area = math.pi * SPACING**2 / count.to(self.points)
        self.oriented = seen.normals[~seen.two_sided] * area[:, None]
        self.height = (self.points * self.oriented).sum(-1)

    def winding_numbers(self, at: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """How often it goes round points: 1 inside a closed surface, 0 outside."""
        sums = [at.new_zeros(0)]
        for part in at.split(max(1, PAIRS_AT_ONCE // max(1, len(self.points)))):
            away = torch.cdist(part, self.points).clamp_min(NEAREST)
            facing = self.height - part @ self.oriented.T
            sums.append((facing / (away * away * away)).sum(-1) / (4 * math.pi))
        return torch.cat(sums)


def looked_into(
    points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], around: OneSided, pictures: list[DepthPicture]
) -> Bool[Tensor, "n"]:
    """Whether a view looks through the space behind points, where that is inside by its winding number."""
    into = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for depth in DEPTHS:
        at = points - depth * normals
        through = torch.stack([looked_through(picture, at) for picture in pictures]).any(0).nonzero()[:, 0]
        into[through] |= around.winding_numbers(at[through]) > WOUND
    return into


def looked_through(picture: DepthPicture, points: Float[Tensor, "n 3"]) -> Bool[Tensor, "n"]:
    """Whether a view sees something behind points, or nothing of the object where they are."""
    pixels, z = picture.camera.project(0, points.double().cpu())
    height, width = picture.depth.shape
    inside = ((pixels >= 0) & (pixels < torch.tensor([width, height]))).all(-1) & (z > 0)
    column, row = torch.where(inside[:, None], pixels, 0).long().unbind(-1)
    depth = picture.depth.cpu()[row, column]
    in_front = (depth > 0) & (z.to(depth) < depth - MARGIN)
    return (inside & (in_front | picture.beside.cpu()[row, column])).to(points.device)


def voted(points: Float[Tensor, "n 3"], said: Bool[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """What most points round about say."""
    tree = KDTree(points.cpu().numpy())
    around = tree.query_ball_point(points.cpu().numpy(), NEIGHBOURS)
    return torch.tensor([bool(said[among].double().mean() > 0.5) for among in around], dtype=torch.bool)
