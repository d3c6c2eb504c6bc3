"""The sparse global alignment from end to end: pair results in, posed cameras and points out.

MASt3R-SfM (Duisterhof et al. 2024, arXiv:2409.19152, §3), with masks, and with anything known of the views kept or used
to start from.

    aligned = align_sparse(pairs, sizes_hw, SparseConfig(), masks=masks)
    aligned.K, aligned.world_from_cam, aligned.dense()

Within the aligner pixels count from the centre of the top left one; what leaves it is in our convention, a pixel's
centre at +0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.alignment.canonical import CanonicalView
from rilievo.alignment.cleaning import clean_pointcloud
from rilievo.alignment.condense import Masks, Pairs, condense
from rilievo.alignment.config import SparseConfig
from rilievo.alignment.dense import DenseView, densify
from rilievo.alignment.known import KnownView
from rilievo.alignment.problem import Problem
from rilievo.alignment.residuals import points_of
from rilievo.alignment.scene_state import Geometry
from rilievo.alignment.solve import Progress, coarse_stage, solve
from rilievo.geometry import se3, sim3
from rilievo.geometry.alignment import align_cameras

ROUGH_ITERATIONS = 200
"""Steps of the solution that finds the scale of known poses."""


@dataclass(frozen=True)
class SparseAlignment:
    """Cameras of all views in one world, and what their depth is made of."""

    geometry: Geometry
    """Principal points counted from the centre of the top left pixel; everything else as it is."""
    problem: Problem
    views: tuple[CanonicalView, ...]
    losses: tuple[float, ...]
    """Of the last stage."""

    @property
    def K(self) -> Float[Tensor, "n 3 3"]:
        """Intrinsics in px, a pixel's centre at +0.5."""
        return _intrinsics(self.geometry.focal, self.geometry.principal_point + 0.5)

    @property
    def world_from_cam(self) -> Float[Tensor, "n 4 4"]:
        return self.geometry.world_from_cam

    @property
    def sparse_points(self) -> Float[Tensor, "s 3"]:
        """World points of all matched pixels, each as its own view has it."""
        return points_of(self.geometry, self.problem.sightings)

    def dense(self, clean: bool = True) -> list[DenseView]:
        """Depth, points and confidence of every pixel; `clean` takes confidence from points that float before surfaces
        which other photos are surer of."""
        views = densify(self.geometry, self.views)
        if not clean:
            return views
        confidence = clean_pointcloud(
            [view.confidence for view in views],
            self.K,
            self.world_from_cam,
            [view.depth for view in views],
            [view.points for view in views],
        )
        return [replace(view, confidence=sure) for view, sure in zip(views, confidence, strict=True)]


def align_sparse(
    pairs: Pairs,
    sizes_hw: Sequence[tuple[int, int]],
    config: SparseConfig,
    masks: Masks | None = None,
    known: Mapping[int, KnownView] | None = None,
    progress: Progress | None = None,
) -> SparseAlignment:
    """Align n views. `pairs` may load its results as they are asked for; they are asked for three times each.

    `masks` are True on what is to be aligned, one per view. Raises `UserError` where masks do not fit or hide
    everything, and where matches do not join all views.
    """
    condensed = condense(pairs, sizes_hw, config, masks, known)
    problem, anchor_pose = _placed(condensed.problem, known or {}, config)
    solution = solve(problem, config.form, config.stages, progress)
    geometry = solution.geometry
    if anchor_pose is not None:
        view, pose = anchor_pose
        geometry = _moved(geometry, pose @ se3.inverse(geometry.world_from_cam[view]))
    return SparseAlignment(geometry, problem, condensed.views, solution.losses)


def _placed(
    problem: Problem, known: Mapping[int, KnownView], config: SparseConfig
) -> tuple[Problem, tuple[int, Tensor] | None]:
    """The problem with its known poses, and the view and pose that only say where the world is, if there is one such.

    The world is first solved coarsely without the poses, then moved and scaled onto them: so views of unknown poses,
    and all depths, start at the known world's scale. A single kept pose cannot hold the scale: it is let go of until
    the world is solved, and then moved to.
    """
    poses = {view: fact.world_from_cam for view, fact in known.items() if fact.world_from_cam is not None}
    if not poses:
        return problem, None
    frame, kept = None, torch.nonzero(problem.fixed.pose)[:, 0].tolist()
    free = replace(problem, fixed=replace(problem.fixed, pose=torch.zeros_like(problem.fixed.pose)))
    if len(kept) == 1:
        frame, problem = (kept[0], poses[kept[0]].to(problem.sizes)), free
    rough = solve(free, config.form, [coarse_stage(ROUGH_ITERATIONS, config.coarse_rate)]).geometry
    views = list(poses)
    there = torch.stack([poses[view].to(problem.sizes) for view in views])
    world_from_rough = align_cameras(rough.world_from_cam[views].double(), there.double())
    scale, R, t = (part.to(problem.sizes) for part in sim3.split(world_from_rough))
    moved = _moved(replace(rough, t=scale * rough.t), se3.compose(R, t))
    start = moved.world_from_cam
    start[views] = there
    ratio = scale * rough.depth / problem.core_depth
    sizes = torch.stack([ratio[problem.anchor_view == view].median() for view in range(problem.views)])
    sizes = torch.where(problem.fixed.depth, 1.0, sizes)
    tree = problem.tree.rerooted(kept[0] if kept else views[0])
    return replace(problem, world_from_cam=start, start_sizes=sizes, tree=tree), frame


def _moved(geometry: Geometry, new_from_world: Float[Tensor, "4 4"]) -> Geometry:
    """The geometry in another frame of the same scale."""
    R, t = new_from_world[:3, :3], new_from_world[:3, 3]
    return replace(geometry, R=R @ geometry.R, t=geometry.t @ R.mT + t)


def _intrinsics(focal: Tensor, center: Tensor) -> Tensor:
    K = torch.diag_embed(torch.stack((focal, focal, torch.ones_like(focal)), dim=-1))
    K[:, :2, 2] = center
    return K
