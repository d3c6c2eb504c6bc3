"""What a stage minimises, and its gradient with respect to the unknowns.

On the processor loss and gradient come from three compiled passes (`chain_cpu.forward`, `matches_cpu`,
`chain_cpu.backward`); elsewhere, and as the definition, from `scene_state` and `residuals` through autograd.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.alignment import chain_cpu, matches_cpu, residuals
from rilievo.alignment.problem import Problem
from rilievo.alignment.residuals import FARTHEST_PIXELS, NEAREST, GammaLoss
from rilievo.alignment.scene_state import DepthForm, Geometry, Parametrisation, SceneState


class Residual(StrEnum):
    """What a stage measures on matches."""

    POINTS = "points"
    """Distances in the world (3-D)."""
    PIXELS = "pixels"
    """Distances in the photos (2-D)."""


@dataclass(frozen=True)
class Objective:
    """Loss of the matches plus a share of the regression of weak pairs."""

    residual: Residual
    loss: GammaLoss
    regression_loss: GammaLoss = GammaLoss(1.1)
    regression_weight: float = 0.01

    def __call__(self, problem: Problem, geometry: Geometry) -> Float[Tensor, ""]:
        """The definition, in torch, differentiable."""
        matched = residuals.loss_3d if self.residual is Residual.POINTS else residuals.loss_2d
        sightings = problem.sightings
        on_weak = residuals.loss_regression(geometry, sightings, problem.regression, self.regression_loss)
        return matched(geometry, sightings, problem.matches, self.loss) + self.regression_weight * on_weak


def loss_and_gradient(
    parametrisation: Parametrisation, state: SceneState, objective: Objective
) -> tuple[Float[Tensor, ""], SceneState]:
    """Loss at a state and its gradient with respect to every unknown, through autograd."""
    flat = state.flat().requires_grad_()
    loss = objective(parametrisation.problem, parametrisation.geometry(state.like(flat)))
    (gradient,) = torch.autograd.grad(loss, flat)
    return loss.detach(), state.like(gradient)


class CompiledObjective:
    """`loss_and_gradient` on the processor, for a state that changes in place.

    `state` is float64 and its parts are views of one vector, and so are those of the gradient: an evaluation allocates
    next to nothing.
    """

    def __init__(self, parametrisation: Parametrisation, state: SceneState, objective: Objective) -> None:
        p = parametrisation
        self._bases = None if p.bases is None else [basis.matrix.double().numpy() for basis in p.bases]
        self._log_depth = p.form.log_depth
        self._unknowns = [getattr(state, name).numpy() for name in state.FIELDS]
        self.gradient = torch.zeros_like(state.flat())
        self._gradients = [getattr(state.like(self.gradient), name).numpy() for name in state.FIELDS]
        self._layout = _layout(p)
        self._known = _known(p.problem)
        n, anchors, sightings = p.problem.views, len(p.problem.core_depth), len(p.problem.sightings.view)
        shapes = ((n,), (n, 2), (n,), (n, 3, 3), (n, 3), (anchors,))
        self._geometry = [np.zeros(shape) for shape in shapes]
        self._pulls = [np.zeros(shape) for shape in shapes]
        self._chain = np.zeros((n, 3, 3)), np.zeros((n, 3))
        self._depth, self._depth_pull = np.zeros(anchors), np.zeros(anchors)
        self._matches = _matches(p.problem, objective)
        self._scratch = np.zeros((sightings, 3)), np.zeros((sightings, 3))

    def __call__(self) -> float:
        """The loss at the state as it is now; `gradient` is renewed."""
        *unknowns, depth = self._unknowns
        self._to_depth(depth)
        fixed = self._known[:3]
        chain_cpu.forward(*unknowns, self._depth, *self._layout, *self._known, *self._geometry, *self._chain)
        for part in (*self._pulls, *self._gradients, self._depth_pull):
            part.fill(0)
        loss = matches_cpu.loss_and_pull(*self._geometry, *self._matches, *self._scratch, *self._pulls)
        focal = self._geometry[0]
        *gradients, of_depth = self._gradients
        chain_cpu.backward(
            *unknowns, self._depth, *self._layout, *fixed, focal, *self._chain, *self._pulls, *gradients,
            self._depth_pull,
        )  # fmt: skip
        self._from_depth(depth, of_depth)
        return loss

    def _to_depth(self, unknown: np.ndarray) -> None:
        """Normalised core depths of the unknowns that stand for them."""
        plain = np.exp(unknown) if self._log_depth else unknown
        if self._bases is None:
            self._depth[:] = plain
            return
        at, k = 0, 0
        for matrix in self._bases:
            rows, rank = matrix.shape
            self._depth[at : at + rows] = matrix @ plain[k : k + rank]
            at, k = at + rows, k + rank

    def _from_depth(self, unknown: np.ndarray, gradient: np.ndarray) -> None:
        """The adjoint of `_to_depth`."""
        if self._bases is None:
            gradient[:] = self._depth_pull
        else:
            at, k = 0, 0
            for matrix in self._bases:
                rows, rank = matrix.shape
                gradient[k : k + rank] = matrix.T @ self._depth_pull[at : at + rows]
                at, k = at + rows, k + rank
        if self._log_depth:
            gradient *= np.exp(unknown)


def _layout(p: Parametrisation) -> tuple:
    problem = p.problem
    least, most = problem.focal_bounds
    return (
        p.camera_of_view.numpy(),
        np.array(p.parents),
        np.array(p.order),
        *(_double(part) for part in (problem.sizes, problem.base_focals, problem.median_depth, least, most)),
        problem.anchor_view.numpy(),
        p.form.depth is DepthForm.MULTIPLY,
    )


def _known(problem: Problem) -> tuple:
    pose = torch.eye(4).expand(problem.views, 4, 4) if problem.world_from_cam is None else problem.world_from_cam
    return (
        problem.fixed.scale,
        problem.fixed.pose.numpy() & (problem.world_from_cam is not None),
        problem.fixed.depth.numpy(),
        _double(pose[:, :3, :3]),
        _double(pose[:, :3, 3]),
        _double(problem.core_depth),
    )


def _matches(problem: Problem, objective: Objective) -> tuple:
    s, m, r = problem.sightings, problem.matches, problem.regression
    in_pixels = objective.residual is Residual.PIXELS
    total, weak_total = float(m.confidence.double().sum()), float(r.weight.double().sum())
    both_ways = 2 if in_pixels else 1
    loss, weak = objective.loss, objective.regression_loss
    return (
        *(s.view.numpy(), _double(s.pixel), s.anchor.numpy(), _double(s.offset)),
        *(m.first.numpy(), m.second.numpy(), _double(m.confidence), in_pixels),
        *(1 / (both_ways * total) if total > 0 else 0.0, float(loss.gamma), loss.offset, NEAREST, *FARTHEST_PIXELS),
        *(r.sighting.numpy(), r.frame.numpy(), _double(r.target), _double(r.weight)),
        *(objective.regression_weight / weak_total if weak_total > 0 else 0.0, float(weak.gamma), weak.offset),
    )


def _double(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().contiguous().numpy()
