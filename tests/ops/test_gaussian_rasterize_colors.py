"""Colours of Gaussians by direction: the harmonics of our fields, in value and gradient."""

import pytest
import torch
from torch.nn.functional import normalize

from rilievo.fields.spherical_harmonics import SphericalHarmonics
from rilievo.ops.gaussian_rasterize import register, view_colors

EYE = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)


@pytest.fixture
def cloud(generator):
    """Means, and coefficients of three bands and a constant; some colours fall below 0."""
    shapes = (700, 3), (700, 3), (700, 15, 3)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def defined(means, sh_dc, sh_rest, degree):
    basis = SphericalHarmonics(degree + 1)(normalize(means - EYE.to(means), dim=-1))
    coefficients = torch.cat((sh_dc[:, None], sh_rest), dim=1)[:, : basis.shape[1]]
    return (0.5 + (basis[:, :, None] * coefficients).sum(dim=1)).clamp_min(0)


@pytest.mark.parametrize("degree", range(4))
def test_colours_and_their_gradients_are_those_of_the_harmonics(cloud, degree):
    slope = torch.linspace(-1, 1, 2100, dtype=torch.float64).view(700, 3)
    results = []
    for rgb in (view_colors(*cloud[:1], EYE, *cloud[1:], degree), defined(*cloud, degree)):
        gradients = torch.autograd.grad((rgb * slope).sum(), cloud, allow_unused=True)
        results.append([rgb, *(torch.zeros_like(t) if g is None else g for t, g in zip(cloud, gradients))])
    assert (results[0][0] == 0).any()
    for ours, expected in zip(*results):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)


def test_single_precision_loses_no_more_than_the_definition_does(cloud, assert_as_accurate_as):
    inputs = [t.detach().float().requires_grad_() for t in cloud]
    assert_as_accurate_as(
        lambda means, dc, rest: view_colors(means, EYE.to(means), dc, rest, 3),
        lambda means, dc, rest: defined(means, dc, rest, 3),
        *inputs,
        slack=8,
    )


def test_a_gaussian_where_the_eye_is_has_a_colour_and_finite_gradients(cloud):
    means, sh_dc, sh_rest = (t.detach()[:2].clone().requires_grad_() for t in cloud)
    with torch.no_grad():
        means[0] = EYE
    rgb = view_colors(means, EYE, sh_dc, sh_rest, 2)
    gradients = torch.autograd.grad(rgb.sum(), (means, sh_dc, sh_rest))
    assert rgb.isfinite().all()
    assert all(g.isfinite().all() for g in gradients)


def test_operators_keep_the_rules_of_torch(cloud):
    means, sh_dc, sh_rest = (t.detach()[:5].clone().requires_grad_() for t in cloud)
    torch.library.opcheck(register.view_colors, (means, EYE, sh_dc, sh_rest, 3))
