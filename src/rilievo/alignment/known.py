"""What is known of a view before it is aligned, each to be kept or only to start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.alignment.problem import Problem
from rilievo.alignment.residuals import points_in_camera
from rilievo.alignment.scene_state import Geometry
from rilievo.errors import clear


@dataclass(frozen=True)
class KnownView:
    """Anything known of one view, at the size that the aligner works at. Raises `UserError` where it cannot be so."""

    K: Float[Tensor, "3 3"] | None = None
    """Our convention: a pixel's centre is at +0.5. The mean of fx and fy counts."""
    world_from_cam: Float[Tensor, "4 4"] | None = None
    depth: Float[Tensor, "h w"] | None = None
    """Along camera z, in the units of the poses where these are known; what is not positive and finite is unknown."""
    keep_K: bool = True
    keep_pose: bool = True
    """A single kept pose says where the world is, two or more also how large."""
    keep_depth: bool = True

    def __post_init__(self) -> None:
        if self.K is not None and not (self.K[0, 0] > 0 and self.K[1, 1] > 0):
            raise clear(
                "known intrinsics",
                expected="positive focal lengths",
                got=f"{float(self.K[0, 0])} and {float(self.K[1, 1])}",
                do="give K in pixels",
            )
        if self.depth is not None and not (torch.isfinite(self.depth) & (self.depth > 0)).any():
            raise clear("known depth", expected="some positive values", got="none", do="leave the depth out")


def sizes_from_poses(problem: Problem, known: Float[Tensor, "n"], world_from_cam: Float[Tensor, "n 4 4"]) -> Tensor:
    """Sizes [n] that make matched points of views with known poses meet best, by linear least squares.

    `known` marks these views (bool). With p the points in the axes of the world, seen from their cameras, and c the
    centres, the sizes s minimise Σ q |s_i p_i + c_i − s_j p_j − c_j|². Where that makes no sense, and for other views,
    the median of the sensible ones is taken, 1 without any.
    """
    n = problem.views
    R, c = world_from_cam[:, :3, :3].double(), world_from_cam[:, :3, 3].double()
    geometry = Geometry(
        problem.base_focals, problem.principal_points, torch.ones_like(problem.base_focals),
        R.to(problem.sizes), c.to(problem.sizes), problem.core_depth,
    )  # fmt: skip
    s, m = problem.sightings, problem.matches
    p = (R[s.view] @ points_in_camera(geometry, s).double()[..., None]).squeeze(-1)
    i, j = s.view[m.first], s.view[m.second]
    usable = known[i] & known[j]
    i, j, q = i[usable], j[usable], m.confidence[usable].double()
    p_i, p_j, gap = p[m.first[usable]], p[m.second[usable]], c[j] - c[i]
    normal, right = p.new_zeros(n * n), p.new_zeros(n)
    for a, b, value in (
        (i, i, p_i * p_i), (j, j, p_j * p_j), (i, j, -p_i * p_j), (j, i, -p_i * p_j),
    ):  # fmt: skip
        normal.index_add_(0, a * n + b, q * value.sum(-1))
    right.index_add_(0, i, q * (p_i * gap).sum(-1)).index_add_(0, j, -q * (p_j * gap).sum(-1))
    sizes = torch.linalg.lstsq(normal.view(n, n), right, driver=None).solution
    met = torch.zeros_like(known).index_fill(0, torch.cat((i, j)), True)
    good = met & torch.isfinite(sizes) & (sizes > 0)
    return torch.where(good, sizes, sizes[good].median() if good.any() else 1.0).to(problem.sizes)
