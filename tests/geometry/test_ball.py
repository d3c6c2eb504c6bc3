"""Bounding balls are smallest, and a few strays do not move the middle."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.geometry.ball import bounding_ball, robust_center


@given(st.integers(0, 2**31), st.integers(1, 60))
def test_bounding_ball_holds_all_and_its_touching_points_hold_its_centre(seed, count):
    points = np.random.default_rng(seed).normal(size=(count, 3)) * [3, 1, 0.2] + 100
    center, radius = bounding_ball(points)
    distances = np.linalg.norm(points - center, axis=1)
    assert distances.max() <= radius * (1 + 1e-9)
    # The ball is smallest exactly when no half-space holds its touching points strictly on one side of the centre.
    touching = points[distances >= radius * (1 - 1e-7)] - center
    for direction in np.random.default_rng(seed + 1).normal(size=(100, 3)):
        assert (touching @ direction).min() <= 1e-5 * np.linalg.norm(direction)


def test_bounding_ball_of_a_cube_is_the_one_through_its_corners():
    corners = np.stack(np.meshgrid([0.0, 2.0], [0.0, 2.0], [0.0, 2.0]), -1).reshape(-1, 3)
    center, radius = bounding_ball(corners)
    np.testing.assert_allclose(center, [1, 1, 1])
    assert radius == pytest.approx(3**0.5)


@pytest.mark.golden
def test_published_robust_centre_is_matched(golden):
    arrays = np.load(golden / "cameras.npz")
    ours = robust_center(torch.from_numpy(arrays["get_center/points"]))
    np.testing.assert_allclose(ours.numpy(), arrays["get_center/center"], atol=1e-6, rtol=1e-5)


def test_strays_do_not_move_the_middle():
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    near_strays, strays = torch.full((5, 3), 10.0), torch.full((5, 3), 1e3)
    assert robust_center(torch.cat((points, near_strays))).norm() < 0.2
    assert robust_center(torch.cat((points, strays))).norm() < 0.2
    assert torch.cat((points, strays)).mean(0).norm() > 5
    assert (robust_center(strays) == strays[0]).all()
