"""Solving a sparse alignment: a coarse stage on points in space, then a fine one on pixels.

The coarse stage moves poses and sizes; the fine one also intrinsics and depths (MASt3R-SfM, Duisterhof et al. 2024,
arXiv:2409.19152, §3.3). Both descend with Adam (β₁ = β₂ = 0.9), whose moments are those of the one flat vector of
unknowns. Each stage returns the state at which its last loss was measured, before the step that followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.alignment.objective import CompiledObjective, Objective, Residual, loss_and_gradient
from rilievo.alignment.problem import Problem
from rilievo.alignment.residuals import GammaLoss
from rilievo.alignment.scene_state import Form, Geometry, Parametrisation, SceneState
from rilievo.alignment.schedule import Decay, rate
from rilievo.errors import clear

BETA = 0.9
EPS = 1e-8

Progress = Callable[[str, int, int, float], None]
"""(stage, iterations done, of how many, loss)"""


@dataclass(frozen=True)
class Stage:
    """One descent."""

    name: str
    objective: Objective
    iterations: int
    rate: float
    decay: Decay = Decay.COSINE
    intrinsics: bool = False
    principal_point: bool = False
    depth: bool = False
    focal_trust: float = 0.0
    """Weight of the squared change of log f in the loss: how far the focal lengths of the pointmaps are believed."""
    center_trust: float = 0.0
    """The same of principal points, in fractions of the image."""


@dataclass(frozen=True)
class Solution:
    """Where a stage ended."""

    state: SceneState
    geometry: Geometry
    losses: tuple[float, ...]
    """One per iteration; the last is the loss of `geometry`."""


def coarse_stage(iterations: int = 300, rate: float = 0.07, gamma: float = 1.5) -> Stage:
    """Poses and sizes from distances in space."""
    return Stage("coarse", Objective(Residual.POINTS, GammaLoss(gamma)), iterations, rate)


def fine_stage(
    iterations: int = 300,
    rate: float = 0.01,
    gamma: float = 0.5,
    principal_point: bool = True,
    depth: bool = True,
    focal_trust: float = 0.0,
    center_trust: float = 0.0,
) -> Stage:
    """Everything from distances in the photos."""
    objective = Objective(Residual.PIXELS, GammaLoss(gamma))
    return Stage(
        "fine",
        objective,
        iterations,
        rate,
        intrinsics=True,
        principal_point=principal_point,
        depth=depth,
        focal_trust=focal_trust,
        center_trust=center_trust,
    )


def solve(problem: Problem, form: Form, stages: list[Stage], progress: Progress | None = None) -> Solution:
    """Run stages one after another. Raises `UserError` where there is nothing to align by."""
    if len(problem.matches.confidence) + len(problem.regression.weight) == 0:
        raise clear(
            "photos",
            expected="matches to align them by",
            got="none",
            do="check that photos overlap and that masks leave something to see",
        )
    parametrisation = Parametrisation(problem, form)
    state, losses = parametrisation.start(), ()
    solution = Solution(state, parametrisation.geometry(state), losses)
    for stage in stages:
        if stage.iterations > 0:
            solution, state = _descend(parametrisation, state, stage, progress)
    return solution


def _descend(
    parametrisation: Parametrisation, state: SceneState, stage: Stage, progress: Progress | None
) -> tuple[Solution, SceneState]:
    """The solution of a stage, and the state after its last step, where the next one starts.

    Where the loss stops being a number, the last state at which it was one is returned.
    """
    free = parametrisation.free(
        intrinsics=stage.intrinsics, principal_point=stage.principal_point, depth=stage.depth
    ).flat()
    trust = _trust(state, stage)
    on_processor = free.device.type == "cpu"
    flat = state.flat().to(torch.float64 if on_processor else free.dtype, copy=True)
    start, best, live = flat.clone(), flat.clone(), state.like(flat)
    compiled = CompiledObjective(parametrisation, live, stage.objective) if on_processor else None
    slow, square = torch.zeros_like(flat), torch.zeros_like(flat)
    losses: list[float] = []
    for k in range(stage.iterations):
        if compiled is not None:
            value, gradient = compiled(), compiled.gradient
        else:
            loss, parts = loss_and_gradient(parametrisation, live, stage.objective)
            value, gradient = float(loss), parts.flat()
        away = flat - start
        value += float((trust * away) @ away)
        if not math.isfinite(value):
            break
        best.copy_(flat)
        losses.append(value)
        if progress is not None:
            progress(stage.name, k + 1, stage.iterations, value)
        gradient = (gradient + 2 * trust * away) * free
        slow.lerp_(gradient, 1 - BETA)
        square.mul_(BETA).addcmul_(gradient, gradient, value=1 - BETA)
        warm = 1 - BETA ** (k + 1)
        step = rate(stage.decay, k / stage.iterations, stage.rate) / warm
        flat.addcdiv_(slow, (square / warm).sqrt_().add_(EPS), value=-step)
        live.rotation.div_(torch.linalg.vector_norm(live.rotation, dim=-1, keepdim=True))
    kept = state.like(best.to(free.dtype))
    return Solution(kept, parametrisation.geometry(kept), tuple(losses)), state.like(flat.to(free.dtype))


def _trust(state: SceneState, stage: Stage) -> Float[Tensor, "p"]:
    """How strongly each unknown is held to where the stage starts."""
    weights = state.like(torch.zeros_like(state.flat()))
    weights.log_focal.fill_(stage.focal_trust / len(state.log_focal))
    weights.principal_point.fill_(stage.center_trust / len(state.log_focal))
    return weights.flat()
