"""The unknowns of a sparse alignment, and the cameras and depths that they stand for.

Of view i with size s = exp(`log_size`), focal length f (base f⁰), principal point c in fractions of the image, median
core depth m and normalised core depths d:

    z   = s m f / f⁰                              distance of the camera from its focal plane
    D   = g (z + (d − 1) m s)   or   g z d        depth of the anchors (`DepthForm`)
    T   = T_parent · (R, t)                       a chain of poses along the kinematic tree
    world_from_cam = (R_T, g (t_T − R_T [z (W, H)/f (½ − c), z]))

so what the tree moves are not the cameras but the places in front of them: turning one does not sweep its points away,
and a longer focal length moves the camera back (MASt3R-SfM, Duisterhof et al. 2024, arXiv:2409.19152, §3.3). The factor
g = 1 / min s keeps the world from shrinking to nothing; it is 1 where something fixed gives the scale.

Quaternions are wxyz. All unknowns live in one flat vector, so an optimiser step is a handful of operations however many
photos there are. Intrinsics have one entry per *camera*; views share one where `camera_of_view` says so, and it is one
entry then, updated once per step (the published code lists it once per view and so updates it n times).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.alignment.depth_basis import DepthBasis, LowRank, depth_basis
from rilievo.alignment.problem import Problem
from rilievo.geometry import so3

LEAST_DEPTH = 1e-4
"""Of a normalised core depth whose logarithm is taken."""


class DepthForm(StrEnum):
    """How depth follows the distance of the camera."""

    ADD = "add"
    """A longer focal length moves the camera back; relief keeps its depth."""
    MULTIPLY = "multiply"
    """A longer focal length stretches all depths."""


@dataclass(frozen=True)
class Form:
    """How the unknowns are told."""

    shared_intrinsics: bool = False
    depth: DepthForm = DepthForm.ADD
    log_depth: bool = False
    """Solve for logarithms of depth."""
    low_rank: LowRank | None = None


@dataclass(frozen=True)
class SceneState:
    """The unknowns: views of one flat vector, or their gradients in the same places."""

    principal_point: Float[Tensor, "c 2"]
    """In fractions of the image."""
    log_focal: Float[Tensor, "c"]
    rotation: Float[Tensor, "n 4"]
    """Relative to the parent in the tree, as quaternions wxyz of any length."""
    translation: Float[Tensor, "n 3"]
    log_size: Float[Tensor, "n"]
    depth: Float[Tensor, "k"]
    """Normalised core depths, their logarithms, or coefficients of their bases, one view after another."""

    FIELDS = ("principal_point", "log_focal", "rotation", "translation", "log_size", "depth")

    def flat(self) -> Float[Tensor, "p"]:
        return torch.cat([getattr(self, name).reshape(-1) for name in self.FIELDS])

    def like(self, flat: Float[Tensor, "p"]) -> SceneState:
        """The parts of another flat vector, laid out as this one."""
        shapes = [getattr(self, name).shape for name in self.FIELDS]
        parts = flat.split([shape.numel() for shape in shapes])
        return SceneState(*(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))


@dataclass(frozen=True)
class Geometry:
    """Cameras and anchor depths in one world."""

    focal: Float[Tensor, "n"]
    principal_point: Float[Tensor, "n 2"]
    """In px."""
    bend: Float[Tensor, "n"]
    """f⁰ / f: relief within a block keeps its shape when the focal length changes, so offsets from 1 shrink by this."""
    R: Float[Tensor, "n 3 3"]
    t: Float[Tensor, "n 3"]
    """world_from_cam = (R, t)."""
    depth: Float[Tensor, "a"]

    @property
    def world_from_cam(self) -> Float[Tensor, "n 4 4"]:
        bottom = self.t.new_tensor([0, 0, 0, 1]).expand(len(self.t), 1, 4)
        return torch.cat((torch.cat((self.R, self.t[..., None]), dim=-1), bottom), dim=-2)


@dataclass(frozen=True)
class _Level:
    """Views at one depth of the tree."""

    views: Int64[Tensor, "v"]
    parents: Int64[Tensor, "v"]
    """Where their parents stand among the views of all levels before."""


class Parametrisation:
    """From unknowns to geometry, for one problem."""

    def __init__(self, problem: Problem, form: Form) -> None:
        self.problem, self.form = problem, form
        n, device = problem.views, problem.sizes.device
        self.camera_of_view = torch.zeros(n, dtype=torch.int64, device=device)
        if not form.shared_intrinsics:
            self.camera_of_view = torch.arange(n, device=device)
        fixed = problem.fixed.pose.tolist()
        self.parents = [-1 if fixed[view] else parent for view, parent in enumerate(problem.tree.parent)]
        """Of each view in the tree; a view with a fixed pose has none, -1."""
        self._levels, self.order = self._tree_levels()
        self._place = torch.argsort(torch.tensor(self.order, device=device))
        self._normalised = problem.core_depth / problem.median_depth[problem.anchor_view]
        self.bases = self._depth_bases() if form.low_rank is not None else None
        self._least_focal, self._most_focal = problem.focal_bounds
        self._one = problem.sizes.new_ones(n, 1)

    def start(self) -> SceneState:
        """Where the optimisation starts: the given focal lengths, depths and poses, or poses that all look at one
        place."""
        p = self.problem
        pp, focal = p.principal_points / p.sizes, p.base_focals
        if self.form.shared_intrinsics:
            weight = p.confidence / p.confidence.sum()
            pp, focal = (weight @ pp)[None], (weight @ focal)[None]
        depth = self._normalised
        if self.bases is not None:
            depth = torch.cat([basis.coefficients for basis in self.bases])
        if self.form.log_depth:
            depth = depth.clamp_min(LEAST_DEPTH).log()
        rotation = p.sizes.new_zeros(p.views, 4)
        rotation[:, 0] = 1
        translation = p.sizes.new_zeros(p.views, 3)
        size = torch.ones_like(p.base_focals) if p.start_sizes is None else p.start_sizes
        state = SceneState(pp, focal.log(), rotation, translation, size.log(), depth)
        return state if p.world_from_cam is None else self.placed(state, p.world_from_cam)

    def placed(self, state: SceneState, world_from_cam: Float[Tensor, "n 4 4"]) -> SceneState:
        """The state with these poses of the cameras, up to the world's scale."""
        R, t = world_from_cam[:, :3, :3], world_from_cam[:, :3, 3]
        focal, pp = self._intrinsics(state)
        place = t + (R @ self._in_front(state.log_size.exp(), focal, pp)[..., None]).squeeze(-1)
        rotation, translation = R.clone(), place.clone()
        for view, parent in enumerate(self.parents):
            if parent >= 0:
                rotation[view] = R[parent].mT @ R[view]
                translation[view] = R[parent].mT @ (place[view] - place[parent])
        turned = so3.quaternion_from_matrix(rotation)
        return SceneState(state.principal_point, state.log_focal, turned, translation, state.log_size, state.depth)

    def geometry(self, state: SceneState) -> Geometry:
        """The cameras and anchor depths of a state; differentiable."""
        p = self.problem
        focal, pp = self._intrinsics(state)
        size = state.log_size.exp()
        scale = self._world_scale(size)
        R, t = self._chain(state)
        t = scale * (t - (R @ self._in_front(size, focal, pp)[..., None]).squeeze(-1))
        ratio = focal / p.base_focals
        bend = 1 / ratio
        depth = self._anchor_depths(state, size * p.median_depth, ratio) * scale
        if p.fixed.depth.any():
            fixed = p.fixed.depth[p.anchor_view]
            depth = torch.where(fixed, p.core_depth, depth)
            bend = torch.where(p.fixed.depth, 1.0, bend)
        if p.fixed.pose.any() and p.world_from_cam is not None:
            R = torch.where(p.fixed.pose[:, None, None], p.world_from_cam[:, :3, :3], R)
            t = torch.where(p.fixed.pose[:, None], p.world_from_cam[:, :3, 3], t)
        return Geometry(focal, pp * p.sizes, bend, R, t, depth)

    def free(self, *, intrinsics: bool, principal_point: bool, depth: bool) -> SceneState:
        """1 at the unknowns that a stage may move, 0 at the others. The root's pose is the choice of the world's frame,
        and stays."""
        p, like = self.problem, self.start()
        focal = camera_is_free(p.fixed.focal, self.camera_of_view, len(like.log_focal)).to(like.log_focal) * intrinsics
        pose = (~p.fixed.pose).to(like.log_size)
        pose[p.tree.root] = 0
        size = (~p.fixed.depth).to(like.log_size)
        loose = (~p.fixed.depth).to(like.depth)[self._view_of_unknown_depth()] * depth
        return SceneState(
            principal_point=(focal * principal_point)[:, None].expand_as(like.principal_point),
            log_focal=focal,
            rotation=pose[:, None].expand_as(like.rotation),
            translation=pose[:, None].expand_as(like.translation),
            log_size=size,
            depth=loose,
        )

    def _intrinsics(self, state: SceneState) -> tuple[Tensor, Tensor]:
        focal = state.log_focal.exp()[self.camera_of_view]
        focal = torch.minimum(torch.maximum(focal, self._least_focal), self._most_focal)
        return focal, state.principal_point[self.camera_of_view]

    def _world_scale(self, size: Tensor) -> Tensor:
        return torch.ones_like(size[0]) if self.problem.fixed.scale else 1 / size.min()

    def _in_front(self, size: Tensor, focal: Tensor, pp: Tensor) -> Tensor:
        """The place in front of each camera that the tree moves, in the camera's axes."""
        p = self.problem
        z = size * p.median_depth * focal / p.base_focals
        return z[:, None] * torch.cat((p.sizes / focal[:, None] * (0.5 - pp), self._one), dim=-1)

    def _anchor_depths(self, state: SceneState, reach: Tensor, ratio: Tensor) -> Tensor:
        depth = state.depth.exp() if self.form.log_depth else state.depth
        if self.bases is not None:
            parts = depth.split([len(basis.coefficients) for basis in self.bases])
            depth = torch.cat([basis.matrix @ part for basis, part in zip(self.bases, parts, strict=True)])
        view = self.problem.anchor_view
        if self.form.depth is DepthForm.MULTIPLY:
            return (reach * ratio)[view] * depth
        return (reach * (ratio - 1))[view] + reach[view] * depth

    def _chain(self, state: SceneState) -> tuple[Tensor, Tensor]:
        """Poses of the places in front of the cameras, level by level of the tree."""
        R, t = so3.matrix_from_quaternion(state.rotation), state.translation
        first = self._levels[0].views
        R_done, t_done = R[first], t[first]
        for level in self._levels[1:]:
            R_up, t_up = R_done[level.parents], t_done[level.parents]
            t_here = t_up + (R_up @ t[level.views][..., None]).squeeze(-1)
            R_done, t_done = torch.cat((R_done, R_up @ R[level.views])), torch.cat((t_done, t_here))
        return R_done[self._place], t_done[self._place]

    def _tree_levels(self) -> tuple[list[_Level], list[int]]:
        """The levels of the tree, and all views in their order."""
        device = self.problem.sizes.device
        here = [view for view, parent in enumerate(self.parents) if parent < 0]
        place: dict[int, int] = {}
        levels: list[_Level] = []
        while here:
            above = [place.get(self.parents[view], -1) for view in here]
            levels.append(_Level(torch.tensor(here, device=device), torch.tensor(above, device=device)))
            place |= {view: len(place) + k for k, view in enumerate(here)}
            standing = set(here)
            here = [view for view, parent in enumerate(self.parents) if parent in standing]
        return levels, list(place)

    def _view_of_unknown_depth(self) -> Int64[Tensor, "k"]:
        if self.bases is None:
            return self.problem.anchor_view
        counts = torch.tensor([len(basis.coefficients) for basis in self.bases], device=self.problem.sizes.device)
        return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)

    def _depth_bases(self) -> list[DepthBasis]:
        assert self.form.low_rank is not None
        p, bases = self.problem, []
        for view in range(p.views):
            own = p.anchor_view == view
            depth = self._normalised[own]
            ray = (p.anchor_pixel[own] - p.principal_points[view]) / p.base_focals[view]
            points = depth[:, None] * torch.cat((ray, torch.ones_like(ray[:, :1])), dim=-1)
            bases.append(depth_basis(points, depth, self.form.low_rank))
        return bases


def camera_is_free(fixed: Bool[Tensor, "n"], camera_of_view: Int64[Tensor, "n"], cameras: int) -> Bool[Tensor, "c"]:
    """Which cameras have no view with fixed intrinsics."""
    held = torch.zeros(cameras, dtype=torch.int64, device=fixed.device)
    return held.index_add(0, camera_of_view, fixed.long()) == 0
