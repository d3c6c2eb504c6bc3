"""All of space beyond the unit sphere in a bounded set, and the networks that were published for it."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.fields.inverted_sphere import InvertedSphereNerf, distances_beyond, inverted

from .published_nerf import published_nerf


@pytest.fixture(scope="module")
def fixture(golden):
    arrays = np.load(golden / "udf_fields.npz")
    return {k: torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith("nerf/")}


def close(found, expected, atol, rtol):
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=rtol)


@pytest.mark.golden
def test_published_density_and_colour_before_activation(fixture):
    nerf, _ = published_nerf(fixture, "nerf/sd/")
    density, color = nerf(fixture["nerf/points4"], fixture["nerf/views"])
    close(density, fixture["nerf/density_raw"].flatten(), 1e-5, 1e-4)
    close(color, fixture["nerf/rgb_raw"], 1e-5, 1e-4)


@pytest.mark.golden
def test_published_slope_of_occupancy(fixture):
    """Of sigmoid(10 density) by the four numbers of an inverted point, which is what is stored."""
    nerf, _ = published_nerf(fixture, "nerf/sd/")
    at = fixture["nerf/points4"].clone().requires_grad_()
    density, _ = nerf(at, fixture["nerf/views"])
    (slope,) = torch.autograd.grad(torch.sigmoid(10 * density).sum(), at)
    close(slope, fixture["nerf/gradient"].view_as(slope), 1e-5, 1e-3)


def test_direction_and_closeness_are_all_that_is_seen():
    nerf = InvertedSphereNerf(width=16, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    points = 3 * torch.randn(10, 3, generator=generator)
    directions = normalize(torch.randn(10, 3, generator=generator), dim=-1)
    far, _ = nerf(inverted(points * 1e6), directions)
    farther, _ = nerf(inverted(points * 1e9), directions)
    torch.testing.assert_close(far, farther)


@pytest.mark.parametrize("layers", [2, 5, 6])
def test_a_network_of_any_depth_is_differentiable_in_all_its_parameters(layers):
    nerf = InvertedSphereNerf(width=8, layers=layers, generator=torch.Generator().manual_seed(0))
    density, color = nerf(inverted(torch.tensor([[0.0, 2.0, -1.0]])), torch.tensor([[0.0, 0.0, 1.0]]))
    (density.sum() + color.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in nerf.parameters())


def test_inverted_points_lie_on_the_sphere_and_come_back():
    points = normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double(), dim=-1)
    points = points * torch.linspace(1, 1e4, 20).double()[:, None]
    four = inverted(points)
    torch.testing.assert_close(four[:, :3].norm(dim=-1), torch.ones(20).double())
    torch.testing.assert_close(four[:, :3] / four[:, 3:], points)


def test_distances_beyond_are_even_in_their_inverse_and_jitter_keeps_their_order():
    start, gap = torch.tensor([0.5, 2.0]).double(), 0.25
    t = distances_beyond(start, 7, gap)
    assert (t.diff(dim=-1) > 0).all()
    assert (t[:, 0] > start + gap).all()
    steps = (1 / (t - gap)).diff(dim=-1)
    torch.testing.assert_close(steps, steps[:, :1].expand(2, 6))
    low, high = (distances_beyond(start, 7, gap, jitter) for jitter in (torch.zeros(2), torch.full((2,), 0.999)))
    assert (low.diff(dim=-1) > 0).all()
    assert (high <= low).all()
    torch.testing.assert_close(low[:, -1], t[:, -1])
    assert distances_beyond(start, 0, gap).shape == (2, 0)
