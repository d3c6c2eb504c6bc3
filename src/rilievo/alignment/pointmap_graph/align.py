"""Global alignment: from pairwise pointmaps to cameras, depths and points, by a few hundred steps of Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rilievo.alignment.pointmap_graph.confidence import Worth
from rilievo.alignment.pointmap_graph.graph import PointmapGraph
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.known_start import start_from_known
from rilievo.alignment.pointmap_graph.start import CONFIDENT, start_from_tree
from rilievo.alignment.pointmap_graph.state import GraphState, Start
from rilievo.errors import clear
from rilievo.geometry.pnp import pinhole
from rilievo.matching.pair_result import PairPrediction

BETAS = (0.9, 0.9)
"""Adam's memory: short, because a few hundred steps are all there are."""


@dataclass(frozen=True)
class PointmapGraphConfig:
    """How pointmaps are aligned. The defaults are the published ones."""

    distance: Literal["l1", "l2"] = "l1"
    """Distances or their squares are summed."""
    worth: Worth = "log"
    """What a confidence C weighs: log C, √C, C − 1 or C itself."""
    confident: float = CONFIDENT
    """Pixels whose best confidence is above this are kept in the result, and pose photos at the start."""
    steps: int = 300
    """Updates."""
    rate: float = 0.01
    """Adam's first learning rate."""
    last_rate: float = 1e-6
    """What the rate falls to."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How it falls."""
    optimise_centers: bool = False
    """Whether principal points move (focal lengths do, unless known)."""
    adaptors: bool = False
    """Whether an edge may stretch its pointmap along the viewing axis."""

    def __post_init__(self) -> None:
        if self.steps < 0 or not 0 <= self.last_rate <= self.rate:
            raise clear(
                "pointmap alignment",
                expected="steps >= 0 and 0 <= last_rate <= rate",
                got=f"{self.steps} steps, rates {self.rate} to {self.last_rate}",
                do="mend the configuration",
            )


@dataclass(frozen=True)
class AlignedPointmaps:
    """Cameras, depths and points of all views in one world; pixel centres are at +0.5."""

    world_from_cam: Float64[Tensor, "views 4 4"]
    K: Float64[Tensor, "views 3 3"]
    depth: list[Float[Tensor, "_h _w"]]
    """Along camera z."""
    points: list[Float[Tensor, "_h _w 3"]]
    """In the world."""
    confidence: list[Float[Tensor, "_h _w"]]
    """The best of each pixel in any pair; 0 outside the masks."""
    confident: list[Bool[Tensor, "_h _w"]]
    """Which pixels to keep."""
    world_from_edge: Float[Tensor, "edges 4 4"]
    """Similarity of every pair's pointmaps."""
    losses: list[float] = field(default_factory=list)
    """Before every step."""


def align_pointmaps(
    edges: Sequence[tuple[int, int]],
    predictions: Sequence[PairPrediction],
    *,
    masks: Sequence[Bool[Tensor, "_h _w"]] | None = None,
    known: KnownViews | None = None,
    config: PointmapGraphConfig | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> AlignedPointmaps:
    """Align views 0 … n-1 from `predictions[e]` of the ordered pairs `edges[e]`.

    `masks[v]` is True on what may vote: only there do points enter registration, focal lengths and losses. Known poses,
    focal lengths and principal points stay as they are; with all poses and focal lengths known, depths are found for
    them. `progress` hears the number of steps made and the loss. Raises `UserError` for pairs that do not connect all
    views, or a view without enough points that count.
    """
    config = PointmapGraphConfig() if config is None else config
    known = KnownViews() if known is None else known
    graph = PointmapGraph.of(edges, predictions, masks, config.worth)
    state = GraphState(graph, first_state(graph, known, config.confident), known)
    losses = optimise(state, config, progress)
    return aligned(state, config.confident, losses)


def first_state(graph: PointmapGraph, known: KnownViews, confident: float = CONFIDENT) -> Start:
    """From known cameras where all are, else from the spanning tree."""
    known.check(graph.n_views)
    everything = len(known.world_from_cam) == len(known.focals_px) == graph.n_views
    if everything and known.fixes_scale:
        return start_from_known(graph, known, confident=confident)
    return start_from_tree(graph, known, confident=confident)


def optimise(
    state: GraphState, config: PointmapGraphConfig, progress: Callable[[int, float], None] | None = None
) -> list[float]:
    """Move the state's free parameters to the best place met on the way; returns the loss before every step.

    Adam's first steps, as long as its last ones are short, lead uphill: after a handful of them the published code
    returns a state worse than the one it began with.
    """
    squared = config.distance == "l2"
    parameters = state.parameters(centers=config.optimise_centers, adaptors=config.adaptors)
    adam = torch.optim.Adam(parameters, lr=config.rate, betas=BETAS, fused=True)
    evaluate = _loss_and_gradient(state, parameters, squared)
    losses: list[float] = []
    least, best = math.inf, [p.detach().clone() for p in parameters]
    for step in range(config.steps):
        adam.param_groups[0]["lr"] = learning_rate(config, step)
        losses.append(evaluate())
        if losses[-1] < least:
            least = losses[-1]
            for kept, parameter in zip(best, parameters):
                kept.copy_(parameter.detach())
        adam.step()
        if progress is not None:
            progress(step + 1, losses[-1])
    with torch.no_grad():
        if float(state.loss(squared=squared)) > least:
            for kept, parameter in zip(best, parameters):
                parameter.copy_(kept)
    return losses


def _loss_and_gradient(state: GraphState, parameters: list[Tensor], squared: bool) -> Callable[[], float]:
    """What gives the loss and leaves its gradient in the parameters' `grad`; compiled where they lie on a processor."""
    if state.log_depth.device.type == "cpu":
        from rilievo.alignment.pointmap_graph.state_cpu import CompiledMisfit

        return CompiledMisfit(state, parameters, squared)

    def evaluate() -> float:
        loss = state.loss(squared=squared)
        for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.grad = slope
        return float(loss.detach())

    return evaluate


def learning_rate(config: PointmapGraphConfig, step: int) -> float:
    """The rate for update number `step`, counted from 0."""
    passed = step / config.steps
    if config.schedule == "linear":
        return config.rate + passed * (config.last_rate - config.rate)
    return config.last_rate + (config.rate - config.last_rate) * (1 + math.cos(passed * math.pi)) / 2


@torch.no_grad()
def aligned(state: GraphState, confident: float = CONFIDENT, losses: Sequence[float] = ()) -> AlignedPointmaps:
    """What a state says, view by view."""
    graph, depth, points = state.graph, state.depth, state.points()
    views = range(graph.n_views)
    confidence = [graph.image(v, graph.confidence[v]) for v in views]
    return AlignedPointmaps(
        state.world_from_cam.double(),
        torch.stack([pinhole(float(f), c) for f, c in zip(state.focals_px, state.centers_px)]).to(depth.device),
        [graph.image(v, depth[v]) for v in views],
        [graph.image(v, points[v]).movedim(0, -1) for v in views],
        confidence,
        [C.gt(confident) for C in confidence],
        state.world_from_edge,
        list(losses),
    )
