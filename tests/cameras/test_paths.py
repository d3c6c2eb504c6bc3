"""Paths lead round the scene, look at it, keep their horizon, and match the published ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.cameras.camera import FLIP_YZ, Cameras
from rilievo.cameras.orientation import look_at, up_direction
from rilievo.cameras.paths import follow, orbit, sphere_arc, sphere_circle, spiral
from rilievo.geometry import sim3, so3

from .cameras_at_hand import NONE, random_cameras


def ring(height: float, radius: float = 3.0, count: int = 12) -> Cameras:
    """Photographers round the origin, z up, holding the camera level."""
    angle = torch.arange(count).double() * (2 * math.pi / count)
    eyes = torch.stack((radius * angle.cos(), radius * angle.sin(), torch.full_like(angle, height)), dim=-1)
    pose = look_at(eyes, torch.zeros(3).double(), torch.tensor([0.0, 0, 1]).double())
    return follow(pose, random_cameras([NONE], [False]))


def in_opengl(poses: torch.Tensor) -> np.ndarray:
    return (poses @ torch.diag(torch.tensor(FLIP_YZ, dtype=poses.dtype)))[:, :3].numpy()


@pytest.mark.golden
def test_published_circle_on_the_sphere_is_matched(golden):
    arrays = np.load(golden / "cameras.npz")
    expected = arrays["spheric_colmap/poses"]
    ours = sphere_circle(torch.from_numpy(arrays["spheric_colmap/cameras"]).double(), len(expected))
    np.testing.assert_allclose(in_opengl(ours), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_published_arc_on_the_sphere_is_matched_about_its_axis(golden):
    arrays = np.load(golden / "cameras.npz")
    expected = arrays["spheric_dtu/poses"]
    axis = torch.from_numpy(arrays["spheric_dtu/eigenvectors"][:, 1]).double()
    ours = sphere_arc(torch.from_numpy(arrays["spheric_dtu/cameras"]).double(), len(expected), axis)
    np.testing.assert_allclose(in_opengl(ours), expected, atol=1e-6, rtol=1e-5)


@given(st.integers(0, 2**31))
def test_look_at_puts_the_target_in_the_middle_and_up_upwards(seed):
    g = torch.Generator().manual_seed(seed)
    eyes, target = torch.randn(6, 3, generator=g, dtype=torch.float64), torch.randn(3, generator=g).double()
    up = torch.randn(3, generator=g).double()
    poses = look_at(eyes, target, up)
    assert torch.linalg.det(poses[:, :3, :3]).min() > 0.999
    ahead = target - eyes
    torch.testing.assert_close(poses[:, :3, 2], ahead / ahead.norm(dim=-1, keepdim=True))
    assert (poses[:, :3, 1] @ up <= 0).all()  # the picture's y axis points down
    torch.testing.assert_close(poses[:, :3, 0] @ up, torch.zeros(6).double(), atol=1e-10, rtol=0)


def test_look_at_along_up_is_still_a_camera():
    up = torch.tensor([0.0, 0.0, 1.0]).double()
    cameras = follow(look_at(5 * up[None], torch.zeros(3).double(), up), random_cameras([NONE], [False]))
    torch.testing.assert_close(cameras.forwards[0], -up)


@pytest.mark.parametrize("height", [0.0, 1.0, 4.0])
def test_up_is_found_from_level_cameras_in_any_frame(height):
    for seed in range(5):
        S = sim3.exp(torch.randn(7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        up = sim3.apply_to_directions(S, torch.tensor([0.0, 0.0, 1.0]).double())
        torch.testing.assert_close(up_direction(ring(height).transformed(S)), up, atol=1e-9, rtol=0)


def test_up_is_the_mean_of_cameras_from_one_side_and_of_rolled_ones():
    level = ring(0.0)[:1]
    torch.testing.assert_close(up_direction(level), torch.tensor([0.0, 0, 1]).double(), atol=1e-12, rtol=0)
    cameras = ring(1.0)
    roll = torch.zeros(len(cameras), 3, dtype=torch.float64)
    roll[::2, 2], roll[1::2, 2] = math.pi / 4, -math.pi / 4  # neither portrait nor landscape
    pose = cameras.world_from_cam.clone()
    pose[:, :3, :3] = pose[:, :3, :3] @ so3.exp(roll)
    assert up_direction(follow(pose, cameras))[2] > 0.99


@given(st.integers(0, 2**31))
def test_orbit_is_a_level_circle_at_the_photos_distance_in_any_frame(seed):
    S = sim3.exp(torch.randn(7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 2)
    photos = ring(1.0).transformed(S)
    center = S[:3, 3]
    path = orbit(photos, center, 24)
    distances = (path.centers - center).norm(dim=-1)
    torch.testing.assert_close(distances, (photos.centers[0] - center).norm().expand(24))
    torch.testing.assert_close(path.centers[0], photos.centers[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(path.centers[2], photos.centers[1], atol=1e-8, rtol=0)  # in the photos' own order
    for i in range(24):
        pixels, _ = path.project(i, center[None])
        torch.testing.assert_close(pixels[0], path.K[i, :2, 2], atol=1e-8, rtol=0)


def test_orbit_of_photos_from_above_has_some_width():
    path = orbit(ring(3.0, radius=1e-3), torch.zeros(3).double(), 8)
    assert (path.centers[:, :2].norm(dim=-1) > 1).all()
    assert (path.centers[:, 2] > 2).all()


def test_spiral_stays_among_the_photos_and_looks_at_one_point():
    g = torch.Generator().manual_seed(0)
    eyes = torch.randn(30, 3, generator=g, dtype=torch.float64) * torch.tensor([1.0, 0.5, 0.1]).double()
    target = torch.tensor([0.0, 0.0, 8.0]).double()
    photos = follow(look_at(eyes, target, torch.tensor([0.0, -1, 0]).double()), random_cameras([NONE], [False]))
    path = spiral(photos, target, 40)
    assert (path.centers.abs().amax(0) <= eyes.abs().amax(0) + 0.2).all()
    assert path.centers[:, 0].std() > 0.5
    for i in range(40):
        offset = path.project(i, target[None])[0][0] - path.K[i, :2, 2]
        assert offset.norm() < 0.1 * path.K[i, 0, 0]
    torch.testing.assert_close(path.centers[0], spiral(photos, target, 80).centers[0])


def test_arc_chooses_the_axis_along_which_the_centres_vary_least():
    centers = ring(0.0).centers[:4]
    poses = sphere_arc(centers, 5)
    assert poses[:, 2, 3].abs().max() < 1e-9
    assert (poses[:, :3, 3].norm(dim=-1) - 3).abs().max() < 0.5
