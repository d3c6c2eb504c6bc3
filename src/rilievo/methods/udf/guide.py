"""What the second witness teaches the field: distances to the points it saw, everywhere in the region.

Close to the surface, points are raised off the planes they were seen in, by heights of either sign (the near term of
GaussianUDF, arXiv:2503.19458, eq. 7); elsewhere they are anywhere. The distance asked for is that to the nearest plane
of a seen point, which reaches no farther than the spacing of points: beyond an edge of the surface it grows, which no
photometric term would teach.

Behind points that something's inside lies behind (`enclosure`) the network's number is to be negative: the surface is
where it changes sign, and may go on where no photograph shows it, under what stands on a table. The distance is taught
close to the surface alone there, and what lies behind such points and beside them is not taught at all: the nearest
surface may be one that was never seen.

δ is the height over a plane, h its length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from rilievo.losses.gaussian_udf import raised

from .lifted import COARSE, SeenSurface, thinned

REACH = 1.5
"""Cells to the side of its point in which a plane is believed."""
PLANES = 4
"""Nearest points whose planes are averaged."""
CLOSE, WIDE = 0.01, 0.08
"""Deviations of the heights of points near the surface, in region radii; half of the points each."""
LEAF = 64
"""Points in a leaf of the tree: SciPy's 10 are slow to search where the nearest points are not very near."""
THICK = 0.03
"""Depth inside something, in region radii, to which the distance from what was seen of it is believed."""


@dataclass(frozen=True)
class Taught:
    """Points and what the field should say there."""

    points: Float[Tensor, "n 3"]
    distance: Float[Tensor, "n"]
    direction: Float[Tensor, "n 3"]
    """Unit, away from the surface."""
    side: Float[Tensor, "n"]
    """Sign of the network's number: -1 inside of something, 1 elsewhere, 0 where nothing is known."""
    known: Bool[Tensor, "n"]
    """Whether distance and direction are."""


class SurfaceGuide:
    """Seen points, all of them for what is near and fewer for what is far."""

    def __init__(self, seen: SeenSurface, cell: float, enclosed: Bool[Tensor, "n"]) -> None:
        """`enclosed`: whether the inside of something is behind a point."""
        self.seen, self.cell = seen, cell
        self.fine = SeenPlanes(seen, cell, enclosed)
        few = thinned(seen.points, seen.normals, COARSE * cell, 1.0)
        nearest = torch.from_numpy(self.fine.tree.query(few.points.cpu().numpy())[1]).to(enclosed.device)
        self.coarse = SeenPlanes(few, COARSE * cell, enclosed[nearest] & ~few.two_sided)

    def near(self, count: int, generator: torch.Generator) -> Taught:
        """`count` points around the surface."""
        chosen = torch.randint(len(self.seen.points), (count,), generator=generator)
        aside = (torch.rand(count, 3, generator=generator) - 0.5) * self.cell
        height = torch.randn(count, generator=generator) * torch.where(torch.arange(count) % 2 == 0, CLOSE, WIDE)
        points, normals = self.seen.points.cpu()[chosen], self.seen.normals.cpu()[chosen]
        return self.fine.taught(raised(points + aside, normals, height))

    def anywhere(self, count: int, generator: torch.Generator) -> Taught:
        """`count` points, uniform in the box round the region."""
        return self.coarse.taught(torch.rand(count, 3, generator=generator) * 2 - 1)


class SeenPlanes:
    """Points with planes, in a tree."""

    def __init__(self, seen: SeenSurface, cell: float, enclosed: Bool[Tensor, "n"]) -> None:
        self.cell, self.enclosed = cell, enclosed.cpu().numpy()
        self.points, self.normals = (t.detach().cpu().double().numpy() for t in (seen.points, seen.normals))
        self.tree = KDTree(self.points, leafsize=LEAF)

    def taught(self, points: Float[Tensor, "n 3"]) -> Taught:
        """Distances of points from the surface as far as it was seen, and the directions in which they grow."""
        at = points.double().numpy()
        planes = min(PLANES, len(self.points))
        away, which = (a.reshape(len(at), planes) for a in self.tree.query(at, k=planes))
        offset = at[:, None] - self.points[which]
        delta = (offset * self.normals[which]).sum(-1)
        aside = np.sqrt(np.maximum(away**2 - delta**2, 0))
        beyond = np.maximum(aside - REACH * self.cell, 0)
        distance = np.sqrt(delta**2 + beyond**2)
        foot = offset - delta[..., None] * self.normals[which]  # within the plane
        out = delta[..., None] * self.normals[which] + foot * (beyond / np.maximum(aside, 1e-12))[..., None]
        weight = np.exp(-(((away - away[:, :1]) / self.cell) ** 2))
        mean = (distance * weight).sum(-1) / weight.sum(-1)
        out = (out * weight[..., None]).sum(1)
        length = np.linalg.norm(out, axis=-1, keepdims=True)
        direction = np.divide(out, length, out=np.zeros_like(out), where=length > 0)
        behind, beside = self.enclosed[which[:, 0]] & (delta[:, 0] < 0), beyond[:, 0] > 0
        side = np.where(behind, np.where(beside, 0.0, -1.0), 1.0)
        known = ~behind | (~beside & (mean < THICK))
        told_distance, told_direction, told_side = (torch.from_numpy(a).to(points) for a in (mean, direction, side))
        return Taught(points, told_distance, told_direction, told_side, torch.from_numpy(known).to(points.device))
