"""What is sought: depths, poses and pinholes of the views, similarities of the edges, as free numbers for an optimiser.

The published parametrisation, kept because Adam's steps have the size of its parameters: log D per pixel; rotations as
quaternions of any length; translations τ with t = sign(τ)(e^|τ| − 1), in units of the edge's scale for an edge; focal
length f = exp(φ / 20); principal point = the assumed one + 10 px · π. The scales σ_e = σ exp(λ_e) / geometric mean of
exp λ have the geometric mean σ = 0.5: without that, the smallest misfit would be a world shrunk to a point. Known poses
that stand in at least two places already fix the scale, and then σ_e = exp λ_e.

Optionally an edge stretches depth against width: diag(a, a, b) with a²b = 1 (`adaptors`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.alignment.pointmap_graph.graph import PointmapGraph
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.misfit import misfit, view_points
from rilievo.geometry import se3, sim3, so3

MEAN_SCALE = 0.5
FOCAL_BREAK = 20.0
CENTER_BREAK_PX = 10.0
ADAPTOR_BREAK = 20.0
MIN_DEPTH = 1e-6
"""Depths are logarithms: a start behind the camera becomes one just before it."""


@dataclass(frozen=True)
class Start:
    """Where the search begins, or any other state in plain terms."""

    world_from_cam: Float[Tensor, "views 4 4"]
    focals_px: Float[Tensor, "views"]
    centers_px: Float[Tensor, "views 2"]
    depth: Float[Tensor, "views pixels"]
    world_from_edge: Float[Tensor, "edges 4 4"]
    """Similarities."""


class GraphState:
    """Free parameters over a graph, and what they stand for. Known values are put in place of the free ones."""

    def __init__(self, graph: PointmapGraph, start: Start, known: KnownViews | None = None) -> None:
        known = KnownViews() if known is None else known
        self.graph, self.pixels = graph, _homogeneous(graph.pixels)
        self.slot_view = graph.slot_view
        self.normalised = not known.fixes_scale
        like = graph.X
        scale, R, t = sim3.split(start.world_from_edge.double())
        poses = start.world_from_cam.double()
        rotations = so3.quaternion_from_matrix(torch.cat((poses[:, :3, :3], R)))
        shifts = inverse_signed_expm1(torch.cat((poses[:, :3, 3], t / scale[:, None])))
        self.rotations = rotations.to(like).requires_grad_()
        """Quaternions wxyz, views before edges."""
        self.shifts = shifts.to(like).requires_grad_()
        self.log_scales = scale.log().to(like).requires_grad_()
        self.log_depth = start.depth.clamp_min(MIN_DEPTH).log().to(like).requires_grad_()
        self.log_focals = (start.focals_px.double().log() * FOCAL_BREAK).to(like).requires_grad_()
        self.base_centers = start.centers_px.to(like)
        self.center_shifts = torch.zeros_like(self.base_centers, requires_grad=True)
        self.adaptors = torch.zeros(len(scale), 2, dtype=like.dtype, device=like.device, requires_grad=True)
        self._put_known(known, like)

    def _put_known(self, known: KnownViews, like: Tensor) -> None:
        n = self.graph.n_views
        self.any_known_pose = bool(known.world_from_cam)
        self.known_pose, self.known_poses = _marks(n, known.world_from_cam, like), torch.eye(4).expand(n, 4, 4).to(like)
        self.known_poses = self.known_poses.clone()
        for v, pose in known.world_from_cam.items():
            self.known_poses[v] = pose.to(like)
        self.known_focal, self.known_focals = _marks(n, known.focals_px, like), like.new_ones(n)
        for v, focal in known.focals_px.items():
            self.known_focals[v] = focal
        self.known_center = _marks(n, known.centers_px, like)
        for v, center in known.centers_px.items():
            self.base_centers[v] = center.to(like)

    def parameters(self, *, centers: bool = False, adaptors: bool = False) -> list[Tensor]:
        """What an optimiser may change; principal points and adaptors on request. Only what is not known to all."""
        free = [self.rotations, self.shifts, self.log_scales, self.log_depth]
        free += [] if self.known_focal.all() else [self.log_focals]
        free += [self.center_shifts] if centers and not self.known_center.all() else []
        return free + ([self.adaptors] if adaptors else [])

    @property
    def focals_px(self) -> Float[Tensor, "views"]:
        return torch.where(self.known_focal, self.known_focals, (self.log_focals / FOCAL_BREAK).exp())

    @property
    def centers_px(self) -> Float[Tensor, "views 2"]:
        return self.base_centers + CENTER_BREAK_PX * self.center_shifts * ~self.known_center[:, None]

    @property
    def depth(self) -> Float[Tensor, "views pixels"]:
        return self.log_depth.exp()

    @property
    def scales(self) -> Float[Tensor, "edges"]:
        """σ_e."""
        if not self.normalised:
            return self.log_scales.exp()
        return (self.log_scales - self.log_scales.mean() + math.log(MEAN_SCALE)).exp()

    @property
    def log_stretch(self) -> Float[Tensor, "edges 3"]:
        """(log a, log a, log b) of every edge."""
        across, along = self.adaptors.unbind(-1)
        log_a = (across - along) / (3 * ADAPTOR_BREAK)
        return torch.stack((log_a, log_a, -2 * log_a), dim=-1)

    @property
    def world_from_cam(self) -> Float[Tensor, "views 4 4"]:
        R, t, _, _ = self._motions()
        return se3.compose(R, t)

    @property
    def world_from_edge(self) -> Float[Tensor, "edges 4 4"]:
        """Similarities, without the adaptors."""
        _, _, R, t = self._motions()
        return sim3.compose(self.scales, R, t)

    def points(self) -> Float[Tensor, "views 3 pixels"]:
        """χ: the views' points in the world, per pixel."""
        R, t, _, _ = self._motions()
        return view_points(self.depth, self._directions(R), t, self.pixels)

    def loss(self, *, squared: bool = False) -> Float[Tensor, ""]:
        """Eq. 5, as a mean over the pixels of first photos plus a mean over those of second photos."""
        R, t, R_edges, t_edges = self._motions()
        A = R_edges * (self.scales[:, None] * self.log_stretch.exp())[:, None, :]
        graph, N = self.graph, self._directions(R)
        return misfit(self.depth, N, t, A, t_edges, self.pixels, graph.X, graph.weights, self.slot_view, squared)

    def _motions(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rotations and translations of the views, known ones in place, and of the edges."""
        n = self.graph.n_views
        R, R_edges = _matrices(self.rotations).split((n, len(self.rotations) - n))
        t, t_edges = signed_expm1(self.shifts).split((n, len(self.rotations) - n))
        if self.any_known_pose:
            known = self.known_pose[:, None]
            t = torch.where(known, self.known_poses[:, :3, 3], t)
            R = torch.where(known[:, None], self.known_poses[:, :3, :3], R)
        return R, t, R_edges, t_edges * self.scales[:, None]

    def _directions(self, R: Tensor) -> Tensor:
        """N = R K⁻¹, which gives a pixel (column, row, 1) its direction in the world."""
        inv_f = (1 / self.focals_px)[:, None]
        K_inv = torch.diag_embed(torch.cat((inv_f, inv_f, torch.ones_like(inv_f)), dim=-1))
        ahead = torch.nn.functional.pad(-inv_f * self.centers_px, (0, 1))
        return R @ (K_inv + ahead[:, :, None] * K_inv.new_tensor([0.0, 0.0, 1.0]))


def signed_expm1(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """sign(x) (e^|x| − 1), written so that its derivative at 0 is 1.

    (With |x| in it, automatic differentiation finds 0 there, and a camera at the origin could never leave it.)
    """
    return 2 * (x.abs() / 2).exp() * (x / 2).sinh()


def inverse_signed_expm1(y: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """sign(y) log(1 + |y|)."""
    return y.sign() * y.abs().log1p()


def _homogeneous(pixels: Tensor) -> Tensor:
    return torch.cat((pixels, torch.ones_like(pixels[:, :1])), dim=1)


def _marks(n: int, views: Iterable[int], like: Tensor) -> Bool[Tensor, "n"]:
    marked = torch.zeros(n, dtype=torch.bool, device=like.device)
    marked[list(views)] = True
    return marked


_QUADRATIC = torch.zeros(16, 9)
"""|q|² R, row by row, as a linear function of the outer product q qᵀ."""
for _entry, _terms in enumerate(
    (
        ((0, 0, 1), (1, 1, 1), (2, 2, -1), (3, 3, -1)),
        ((1, 2, 2), (0, 3, -2)),
        ((1, 3, 2), (0, 2, 2)),
        ((1, 2, 2), (0, 3, 2)),
        ((0, 0, 1), (1, 1, -1), (2, 2, 1), (3, 3, -1)),
        ((2, 3, 2), (0, 1, -2)),
        ((1, 3, 2), (0, 2, -2)),
        ((2, 3, 2), (0, 1, 2)),
        ((0, 0, 1), (1, 1, -1), (2, 2, -1), (3, 3, 1)),
    )
):
    for _a, _b, _factor in _terms:
        _QUADRATIC[4 * _a + _b, _entry] = _factor


def _matrices(q: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """What `so3.matrix_from_quaternion` says, in four operations: for few poses their number counts."""
    outer = (q[:, :, None] * q[:, None, :]).flatten(1)
    R = outer @ _QUADRATIC.to(q)
    return (R / outer[:, ::5].sum(-1, keepdim=True)).unflatten(-1, (3, 3))
