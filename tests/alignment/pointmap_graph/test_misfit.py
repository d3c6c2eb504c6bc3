"""The misfit and its written-out gradient."""

import pytest
import torch

from rilievo.alignment.pointmap_graph import misfit_cpu
from rilievo.alignment.pointmap_graph.misfit import misfit, misfit_and_slopes

VIEW = torch.tensor([0, 1, 1, 2, 2, 0])


def inputs(pixels: int, dtype=torch.float64):
    g = torch.Generator().manual_seed(pixels)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    weights = torch.rand(6, pixels, generator=g, dtype=torch.float64).to(dtype) * (torch.arange(pixels) % 5 > 0)
    return draw(3, 3, pixels), draw(3, 3, 3), draw(3, 3), draw(6, 3, pixels), weights, VIEW


def plain(world, A, t, X, weights, view, squared):
    """Eq. 5 as it stands."""
    edge = torch.arange(len(view)) // 2
    r = world[view] - (A[edge] @ X + t[edge][..., None])
    length = r.norm(dim=1)
    return (weights * (length**2 if squared else length)).sum()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("pixels", [1, 7, 1500])
def test_value_and_gradient_are_those_of_the_definition(pixels, squared):
    world, A, t, *fixed = inputs(pixels)
    leaves = [x.requires_grad_() for x in (world, A, t)]
    expected = plain(*leaves, *fixed, squared)
    slopes = torch.autograd.grad(expected, leaves)
    for run in (misfit_and_slopes, misfit_cpu.misfit_and_slopes):
        value, *mine = run(*(x.detach() for x in leaves), *fixed, squared)
        torch.testing.assert_close(value, expected.detach(), rtol=1e-11, atol=0)
        for a, b in zip(mine, slopes):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    through = torch.autograd.grad(3 * misfit(*leaves, *fixed, squared), leaves)
    for a, b in zip(through, slopes):
        torch.testing.assert_close(a, 3 * b, rtol=1e-9, atol=1e-11)


def test_the_kernel_is_as_accurate_as_the_torch_code_in_single_precision():
    exact = misfit_and_slopes(*inputs(3000), False)
    single = inputs(3000, torch.float32)
    kernel, reference = misfit_cpu.misfit_and_slopes(*single, False), misfit_and_slopes(*single, False)
    for right, a, b in zip(exact, kernel, reference):
        assert a.dtype == torch.float32
        floor = torch.finfo(torch.float32).eps * right.norm()
        assert (a - right).norm() <= 4 * (b - right).norm() + floor


@pytest.mark.parametrize("run", [misfit_and_slopes, misfit_cpu.misfit_and_slopes])
def test_points_that_coincide_pull_nowhere(run):
    _, A, t, X, weights, _ = inputs(7)
    same = (A[torch.arange(6) // 2] @ X + t[torch.arange(6) // 2][..., None])[[0, 2, 4]]
    out = run(same, A, t, X, torch.ones_like(weights), torch.tensor([0, 0, 1, 1, 2, 2]), False)
    assert all(x.isfinite().all() for x in out)
    lonely = torch.zeros_like(weights)
    lonely[::2] = 1
    out = run(same, A, t, X, lonely, torch.tensor([0, 0, 1, 1, 2, 2]), False)
    assert max(float(x.abs().max()) for x in out) < 1e-9 or out[0] < 1e-9


@pytest.mark.parametrize("run", [misfit_and_slopes, misfit_cpu.misfit_and_slopes])
def test_points_without_weight_change_nothing(run):
    world, A, t, X, weights, view = inputs(50)
    moved = torch.where(weights[:, None] > 0, X, 7.0)
    for a, b in zip(run(world, A, t, X, weights, view, False), run(world, A, t, moved, weights, view, False)):
        torch.testing.assert_close(a, b)
