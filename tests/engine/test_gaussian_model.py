"""Colours of Gaussians from where the eye is: bands that open one by one."""

import pytest
import torch
from torch.nn.functional import normalize

from rilievo.engine.gaussian_module import GaussianModel
from rilievo.gaussians.cloud import GaussianCloud


def cloud():
    generator = torch.Generator().manual_seed(0)
    means, rgb = (torch.randn(40, 3, generator=generator) for _ in range(2))
    made = GaussianCloud.from_points(means, rgb.sigmoid(), torch.full((40,), 0.1), 3, 0.5)
    made.sh_rest[:] = torch.randn(made.sh_rest.shape, generator=generator)
    return made


@pytest.mark.parametrize(("step", "degree"), [(0, 0), (9, 0), (10, 1), (25, 2), (1000, 3)])
def test_colours_are_those_of_the_bands_that_are_open(step, degree):
    model, gaussians = GaussianModel(3, 10), cloud()
    model.set_step(step)
    assert model.degree == degree
    eye = torch.tensor([0.3, -2.0, 0.5])
    basis = model.harmonics[degree](normalize(gaussians.means - eye, dim=-1))
    expected = (0.5 + (basis[..., None] * gaussians.sh[:, : basis.shape[1]]).sum(1)).clamp_min(0)
    torch.testing.assert_close(model.colors(gaussians, eye), expected, atol=1e-5, rtol=1e-5)
    assert (expected == 0).any() or degree == 0


def test_the_colour_of_the_constant_band_is_the_same_from_everywhere():
    model, gaussians = GaussianModel(3, 10), cloud()
    here, there = (model.colors(gaussians, torch.tensor(eye)) for eye in ([1.0, 2, 3], [-5.0, 0, 0]))
    assert torch.equal(here, there)
    model.set_step(10)
    here, there = (model.colors(gaussians, torch.tensor(eye)) for eye in ([1.0, 2, 3], [-5.0, 0, 0]))
    assert not torch.allclose(here, there)
