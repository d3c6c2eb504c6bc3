"""The misfit and its written-out gradient."""

import pytest
import torch

from rilievo.alignment.pointmap_graph import misfit_cpu
from rilievo.alignment.pointmap_graph.misfit import misfit, misfit_and_slopes, view_points

VIEW = torch.tensor([0, 1, 1, 2, 2, 0])
EDGE = torch.arange(6) // 2
RUNS = [misfit_and_slopes, misfit_cpu.misfit_and_slopes]


def inputs(count: int, dtype=torch.float64):
    """Depth, N, t, A, t of edges; pixels, X, weights (some 0), views of slots."""
    g = torch.Generator().manual_seed(count)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    weights = draw(6, count).abs() * (torch.arange(count) % 5 > 0)
    free = draw(3, count).abs() + 1, draw(3, 3, 3), draw(3, 3), draw(3, 3, 3), draw(3, 3)
    return *free, draw(3, 3, count), draw(6, 3, count), weights, VIEW


def plain(depth, N, t, A, t_edges, pixels, X, weights, view, squared):
    """Eq. 5 as it stands."""
    world = depth[:, None] * (N @ pixels) + t[..., None]
    length = (world[view] - (A[EDGE] @ X + t_edges[EDGE][..., None])).norm(dim=1)
    return (weights * (length**2 if squared else length)).sum()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("count", [1, 7, 1500])
def test_value_and_gradient_are_those_of_the_definition(count, squared):
    given = inputs(count)
    leaves, fixed = [x.requires_grad_() for x in given[:5]], given[5:]
    expected = plain(*leaves, *fixed, squared)
    slopes = torch.autograd.grad(expected, leaves)
    for run in RUNS:
        value, *mine = run(*(x.detach() for x in leaves), *fixed, squared)
        torch.testing.assert_close(value, expected.detach(), rtol=1e-11, atol=1e-13)
        for a, b in zip(mine, slopes, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    through = torch.autograd.grad(3 * misfit(*leaves, *fixed, squared), leaves)
    for a, b in zip(through, slopes, strict=True):
        torch.testing.assert_close(a, 3 * b, rtol=1e-9, atol=1e-10)


def test_the_kernel_is_as_accurate_as_the_torch_code_in_single_precision():
    exact = misfit_and_slopes(*(x.double() if x.is_floating_point() else x for x in inputs(3000, torch.float32)), False)
    single = inputs(3000, torch.float32)
    kernel, reference = misfit_cpu.misfit_and_slopes(*single, False), misfit_and_slopes(*single, False)
    for right, a, b in zip(exact, kernel, reference, strict=True):
        assert a.dtype == torch.float32
        floor = torch.finfo(torch.float32).eps * right.norm()
        assert (a - right).norm() <= 4 * (b - right).norm() + floor


@pytest.mark.parametrize("run", RUNS)
def test_points_that_coincide_pull_nowhere(run):
    depth, N, t, A, t_edges, pixels, _, weights, _ = inputs(7)
    A = torch.linalg.qr(A).Q
    there = view_points(depth, N, t, pixels)[VIEW]
    X = A[EDGE].mT @ (there - t_edges[EDGE][..., None])
    total, *slopes = run(depth, N, t, A, t_edges, pixels, X, weights, VIEW, True)
    assert float(total) < 1e-20
    assert max(float(x.abs().max()) for x in slopes) < 1e-10
    exactly = run(0 * depth, N, 0 * t, A, 0 * t_edges, pixels, 0 * X, weights, VIEW, False)
    assert all((x == 0).all() for x in exactly)


@pytest.mark.parametrize("run", RUNS)
def test_points_without_weight_change_nothing(run):
    *free, pixels, X, weights, view = inputs(50)
    moved = torch.where(weights[:, None] > 0, X, 7.0)
    for a, b in zip(run(*free, pixels, X, weights, view, False), run(*free, pixels, moved, weights, view, False)):
        torch.testing.assert_close(a, b)
