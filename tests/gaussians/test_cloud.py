"""Clouds: from points, in another frame, and with rows that come and go."""

import math

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.fields.spherical_harmonics import SphericalHarmonics
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.motion import transformed
from rilievo.gaussians.rows import Gaussians, Rearrangement, rearrange
from rilievo.gaussians.spacing import neighbour_distance
from rilievo.geometry import sim3, so3


def test_a_lattices_points_are_one_spacing_apart():
    axis = torch.arange(4.0) * 0.5
    points = torch.cartesian_prod(axis, axis, axis)
    assert torch.allclose(neighbour_distance(points), torch.full((64,), 0.5))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_points_than_neighbours_still_have_a_size(count):
    distance = neighbour_distance(torch.arange(3.0 * count).view(count, 3))
    assert distance.shape == (count,)
    assert (distance > 0).all()


def test_a_ball_made_from_a_point_has_its_colour_from_all_sides():
    rgb = torch.tensor([[0.2, 0.7, 0.9]])
    ball = GaussianCloud.from_points(torch.zeros(1, 3), rgb, torch.tensor([0.3]), 3)
    basis = SphericalHarmonics(4)(torch.nn.functional.normalize(torch.randn(9, 3), dim=-1))
    seen = 0.5 + basis @ ball.sh[0]
    assert torch.allclose(seen, rgb.expand(9, 3), atol=1e-6)
    assert torch.allclose(ball.covariances[0], torch.eye(3) * 0.09, atol=1e-7)


def test_more_bands_than_three_are_refused():
    with pytest.raises(UserError, match="0 to 3, got 4"):
        GaussianCloud.empty(4)


def test_moving_a_cloud_moves_its_covariances_and_turns_its_colours(cloud):
    double = GaussianCloud(**{name: values.double() for name, values in cloud.items()})
    R = so3.exp(torch.tensor([0.3, -1.1, 0.7], dtype=torch.float64))
    S = sim3.compose(torch.tensor(2.5, dtype=torch.float64), R, torch.tensor([1.0, 2, 3], dtype=torch.float64))
    harmonics = SphericalHarmonics(3)
    moved = transformed(double, S, harmonics)
    assert torch.allclose(moved.covariances, 6.25 * R @ double.covariances @ R.T)
    directions = torch.nn.functional.normalize(torch.randn(7, 3, dtype=torch.float64), dim=-1)
    before, after = harmonics(directions) @ double.sh[9], harmonics(directions @ R.T) @ moved.sh[9]
    assert torch.allclose(before, after, atol=1e-10)


def test_a_cloud_and_its_optimiser_keep_what_belongs_together(cloud):
    gaussians = Gaussians(cloud)
    optimizer = torch.optim.Adam(gaussians.parameters(), lr=0.1)
    sum((p * torch.arange(p.numel()).view_as(p)).sum() for p in gaussians.parameters()).backward()
    optimizer.step()
    moments = optimizer.state[gaussians.means]["exp_avg"].clone()
    source, fresh = torch.tensor([7, 3, 3]), torch.tensor([False, False, True])
    expected = gaussians.cloud.detach()[source]
    rearrange(gaussians, optimizer, Rearrangement(expected, source, fresh))
    assert len(gaussians) == 3
    assert torch.equal(gaussians.cloud.means, expected.means)
    kept = optimizer.state[gaussians.means]["exp_avg"]
    assert torch.equal(kept[:2], moments[[7, 3]])
    assert not kept[2].any()
    gaussians.cloud.scales.sum().backward()
    optimizer.step()


def test_a_module_takes_on_as_many_rows_as_a_checkpoint_has(cloud):
    empty = Gaussians(GaussianCloud.empty(2))
    empty.load_state_dict(Gaussians(cloud).state_dict())
    assert torch.equal(empty.cloud.sh, cloud.sh)
    with pytest.raises(RuntimeError):
        Gaussians(GaussianCloud.empty(3)).load_state_dict(Gaussians(cloud).state_dict())


@pytest.mark.golden
def test_first_gaussians_are_the_published_ones(dynamic):
    held = {n: torch.from_numpy(v) for n, v in np.load(dynamic / "densify.npz").items() if n.startswith("init/")}
    points = held["init/points"]
    degree = math.isqrt(held["init/f_rest"].shape[1] + 1) - 1
    made = GaussianCloud.from_points(points, held["init/colors"], neighbour_distance(points), degree)
    found = {"xyz": made.means, "f_dc": made.sh_dc[:, None], "f_rest": made.sh_rest, "scaling": made.log_scales}
    found |= {"rotation": made.quats, "opacity": made.opacity_logits[:, None]}
    for name, values in found.items():
        torch.testing.assert_close(values, held[f"init/{name}"], atol=1e-5, rtol=1e-5)
