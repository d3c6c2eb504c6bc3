"""The compiled loss of a state is the definition's, and its gradient what autograd finds."""

from dataclasses import replace

import pytest
import torch

from rilievo.alignment.pointmap_graph.align import first_state
from rilievo.alignment.pointmap_graph.graph import PointmapGraph
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.state import GraphState
from rilievo.alignment.pointmap_graph.state_cpu import CompiledMisfit


def nothing(scene) -> KnownViews:
    return KnownViews()


def one_pose_and_lens(scene) -> KnownViews:
    center = torch.tensor([12.5, 9.0])
    return KnownViews({1: scene.world_from_cam[1]}, {2: float(scene.focals_px[2])}, {0: center})


def two_poses(scene) -> KnownViews:
    return KnownViews({v: scene.world_from_cam[v] for v in (0, 2)})


def disturbed(scene, known: KnownViews) -> GraphState:
    """A state that nothing in it is at its best."""
    exact = [replace(p, X_1=p.X_1.double(), X_2=p.X_2.double()) for p in scene.predictions()]
    graph = PointmapGraph.of(scene.edges, [replace(p, C_1=p.C_1.double(), C_2=p.C_2.double()) for p in exact])
    state = GraphState(graph, first_state(graph, known), known)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in state.parameters(centers=True, adaptors=True):
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return state


@pytest.mark.parametrize("known", [nothing, one_pose_and_lens, two_poses])
@pytest.mark.parametrize("squared", [False, True])
def test_value_and_gradient_are_those_of_autograd(scene, known, squared):
    state = disturbed(scene, known(scene))
    parameters = state.parameters(centers=True, adaptors=True)
    expected = state.loss(squared=squared)
    slopes = torch.autograd.grad(expected, parameters)
    found = CompiledMisfit(state, parameters, squared)()
    assert found == pytest.approx(float(expected.detach()), rel=1e-9)
    for parameter, slope in zip(parameters, slopes):
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-6, atol=1e-9)


def test_it_follows_the_state_and_renews_the_gradient(scene):
    state = disturbed(scene, KnownViews())
    parameters = state.parameters()
    evaluate = CompiledMisfit(state, parameters, False)
    before, slopes = evaluate(), [p.grad.clone() for p in parameters]
    with torch.no_grad():
        for parameter, slope in zip(parameters, slopes):
            parameter -= 1e-4 * slope
    moved = -1e-4 * sum(float(slope.square().sum()) for slope in slopes)
    assert evaluate() - before == pytest.approx(moved, rel=0.05)
    assert all(not torch.equal(p.grad, slope) for p, slope in zip(parameters, slopes))
    assert evaluate() == pytest.approx(float(state.loss().detach()), rel=1e-9)
