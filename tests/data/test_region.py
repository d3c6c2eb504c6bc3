"""The ball of interest holds the object, whatever the capture offers to find it by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.cameras.orientation import look_at
from rilievo.data.load import load_scene
from rilievo.data.region import find_region, frusta_count, look_at_point
from rilievo.data.scene import MaskMeaning, PointCloud
from rilievo.data.visual_hull import enclosing_ball

from .captures import BALL, RADIUS, ball_coverage, ball_scene, ring_cameras


def holds(region, center, radius) -> bool:
    return bool(np.linalg.norm(region.center - center) + radius <= region.radius * 1.001)


def test_mask_hull_of_a_ball_is_that_ball():
    region = find_region(ball_scene(n=24, width=96, height=80))
    assert holds(region, BALL, 0.95 * RADIUS)
    assert np.linalg.norm(region.center - BALL) < 0.1 * RADIUS
    assert region.radius < 1.3 * RADIUS
    assert "24 masks" in region.reason


def test_two_wrong_masks_of_twentyfour_change_little():
    scene = ball_scene(n=24, width=96, height=80)
    masks = list(scene.coverage)
    masks[5] = ball_coverage(scene.cameras, 5, BALL + 0.8, 0.2)
    masks[11] = np.zeros_like(masks[11])
    masks[11][:10, :10] = 255
    region = find_region(replace(scene, coverage=tuple(masks)))
    assert holds(region, BALL, 0.9 * RADIUS)
    assert region.radius < 1.4 * RADIUS


@pytest.mark.parametrize("value", [0, 255])
def test_masks_that_say_nothing_are_not_used(value):
    scene = ball_scene()
    masks = tuple(np.full_like(mask, value) for mask in scene.coverage)
    assert "mask" not in find_region(replace(scene, coverage=masks)).reason


def test_ignore_masks_do_not_shape_the_region():
    assert "mask" not in find_region(ball_scene(meaning=MaskMeaning.IGNORE)).reason


def test_masks_of_a_video_have_no_hull():
    scene = ball_scene()
    assert "mask" not in find_region(replace(scene, times=torch.linspace(0, 1, len(scene)))).reason


def test_points_of_the_object_win_over_a_far_background():
    rng = np.random.default_rng(0)
    on_ball = rng.normal(size=(400, 3))
    on_ball = BALL + RADIUS * on_ball / np.linalg.norm(on_ball, axis=1, keepdims=True)
    wall = BALL + 40 * rng.normal(size=(1500, 3))
    scene = replace(ball_scene(meaning=None), points=PointCloud(np.concatenate([on_ball, wall])))
    region = find_region(scene)
    assert "points" in region.reason
    assert holds(region, BALL, 0.9 * RADIUS)
    assert region.radius < 2 * RADIUS


def test_cameras_alone_find_what_they_look_at_and_stay_outside():
    scene = replace(ball_scene(meaning=None), points=None)
    region = find_region(scene)
    np.testing.assert_allclose(region.center, BALL, atol=1e-6)
    distances = np.linalg.norm(scene.cameras.centers.numpy() - region.center, axis=1)
    assert RADIUS < region.radius < distances.min()


def test_forward_facing_cameras_get_a_ball_in_front_that_all_of_them_see():
    eyes = torch.tensor([[x, y, 0.0] for x in (-1.0, 0.0, 1.0) for y in (-0.5, 0.5)], dtype=torch.float64)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    pose = torch.cat([look_at(eye[None], eye + torch.tensor([0, 1.0, 0]).double(), up) for eye in eyes])
    ring = ring_cameras(len(eyes), 48, 40)
    cameras = Cameras.pinhole(pose, ring.K, ring.sizes_px)
    scene = replace(ball_scene(n=len(eyes), meaning=None), cameras=cameras, points=None)
    region = find_region(scene)
    assert region.center[1] > region.radius > 0
    assert frusta_count(scene, region.center[None])[0] == len(eyes)


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_cameras_still_get_a_region(n):
    region = find_region(replace(ball_scene(n=n, meaning=None), points=None))
    assert np.isfinite(region.center).all()
    assert region.radius > 0


def test_axes_through_one_point_meet_there_despite_a_stray_one():
    rng = np.random.default_rng(0)
    target = np.array([1.0, -2.0, 0.5])
    centers = target + 4 * rng.normal(size=(20, 3))
    forwards = (target - centers) / np.linalg.norm(target - centers, axis=1, keepdims=True)
    point, stiffness = look_at_point(centers, forwards)
    np.testing.assert_allclose(point, target, atol=1e-9)
    assert stiffness > 0.1
    forwards[0] = np.array([0.0, 0.0, 1.0])
    assert np.linalg.norm(look_at_point(centers, forwards)[0] - target) < 0.05


def test_parallel_axes_have_no_stiffness():
    centers = np.random.default_rng(0).normal(size=(5, 3))
    assert look_at_point(centers, np.tile([0.0, 0.0, 1.0], (5, 1)))[1] == pytest.approx(0, abs=1e-12)


def test_enclosing_ball_of_a_box_reaches_its_corners():
    corners = np.array([[x, y, z] for x in (0.0, 2.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    center, radius = enclosing_ball(corners)
    np.testing.assert_allclose(center, [1, 0.5, 0.5], atol=0.05)
    assert np.sqrt(6) / 2 <= radius + 1e-12 < 1.05 * np.sqrt(6) / 2


@pytest.mark.parametrize("name", ["bunny", "cloth_open", "turntable"])
def test_objects_of_the_rendered_captures_lie_in_their_ball(shared, name):
    folder = shared / "scenes" / name
    region = load_scene(folder, downscale=2).region
    with np.load(folder / "points.npz") as archive:
        points = archive["points"].astype(np.float64)
    distance = np.linalg.norm(points - region.center, axis=1)
    assert (distance <= region.radius).mean() > 0.999
    assert region.radius < 1.25 * distance.max()
