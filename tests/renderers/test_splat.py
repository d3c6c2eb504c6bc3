"""Splats as cameras see them: a lone ball in closed form, and gradients on the screen."""

import math

import pytest
import torch

from rilievo.gaussians.cloud import GaussianCloud
from rilievo.renderers.splat import render_splats

K = torch.tensor([[60.0, 0, 16], [0, 60, 12], [0, 0, 1]])
SIZE = (32, 24)
DISTANCE, RADIUS = 3.0, 0.1


def ball(opacity=0.9, at=(0.0, 0.0, DISTANCE)):
    rgb = torch.tensor([[0.25, 0.5, 0.75]])
    return GaussianCloud.from_points(torch.tensor([at]), rgb, torch.tensor([RADIUS]), 0, opacity)


def render(cloud, **settings):
    features = 0.5 + cloud.sh_dc / math.sqrt(4 * math.pi)
    return render_splats(cloud, features, torch.eye(4), K, SIZE, **settings)


def test_a_ball_far_away_is_a_gaussian_disc_of_the_projected_size():
    seen = render(ball())
    x = torch.arange(32) + 0.5 - 16
    y = torch.arange(24) + 0.5 - 12
    variance = (60 * RADIUS / DISTANCE) ** 2 + 0.3
    expected = 0.9 * torch.exp(-(y[:, None] ** 2 + x**2) / (2 * variance))
    expected = torch.where(expected < 1 / 255, 0, expected)
    assert torch.allclose(seen.alpha, expected, atol=1e-5)
    assert torch.allclose(seen.depth, seen.alpha * DISTANCE, atol=1e-5)
    assert torch.allclose(seen.features, seen.alpha[..., None] * torch.tensor([0.25, 0.5, 0.75]), atol=1e-5)


def test_antialiasing_keeps_the_light_of_a_ball_thinner_than_a_pixel():
    thin = ball(at=(0.01, 0.02, 40.0))
    exact = 0.9 * 2 * math.pi * (60 * RADIUS / 40) ** 2
    assert render(thin, antialiased=True).alpha.sum().item() == pytest.approx(exact, rel=0.2)
    assert render(thin).alpha.sum() > 5 * exact


def test_the_background_is_what_is_left_where_nothing_is():
    seen = render(ball(), background=torch.tensor([1.0, 0.0, 0.5]))
    assert torch.equal(seen.features[0, 0], torch.tensor([1.0, 0.0, 0.5]))


def test_a_camera_that_sees_no_gaussian_sees_the_background_and_still_has_gradients():
    cloud = ball(at=(0.0, 0.0, -2.0))
    cloud.means.requires_grad_()
    seen = render(cloud, background=torch.ones(3))
    assert torch.equal(seen.features, torch.ones(24, 32, 3))
    assert not seen.visible.any()
    seen.features.sum().backward()
    assert not cloud.means.grad.any()


def test_the_gradient_on_the_screen_is_that_of_moving_the_mean_across_it():
    cloud = ball()
    cloud.means.requires_grad_()
    seen = render(cloud)
    (seen.alpha * torch.arange(32)).sum().backward()
    on_screen = seen.projection.means2d.grad[0]
    assert seen.visible.tolist() == [True]
    assert on_screen[0] > 1
    assert cloud.means.grad[0, 0].item() == pytest.approx(on_screen[0].item() * 60 / DISTANCE, rel=1e-4)
