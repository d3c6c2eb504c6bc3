"""Photos turned to what is photographed: the published cameras, and pictures that agree with them."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.data.captures import ball_scene

from rilievo.data.nero_crop import crop_around, look_at_points
from rilievo.errors import UserError

CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}
SIDE = 40


def project(points, K, cam_from_world):
    in_cam = points @ cam_from_world[:, :3].T + cam_from_world[:, 3]
    pixels = in_cam @ K.T
    return pixels[:, :2] / pixels[:, 2:]


@pytest.mark.golden
def test_the_camera_of_a_crop_is_the_published_one(golden):
    stored = np.load(golden / "nero_dataset.npz")
    at = {key[5:]: value.astype(float) for key, value in stored.items() if key.startswith("crop/")}
    height, width = at["image_hw"].astype(int).tolist()
    pixels = project(at["ref_points"], at["K_in"], at["pose_in"])
    crop = crop_around(pixels, at["K_in"], (width, height), int(at["size"]))
    np.testing.assert_allclose(crop.K, at["K_out"], **CLOSED_FORM)
    before = np.vstack([at["pose_in"], [0, 0, 0, 1]])
    np.testing.assert_allclose(crop.cam_from_world(before)[:3], at["pose_out"], **CLOSED_FORM)


@pytest.mark.parametrize("corner", [(0, 0), (70, 0), (0, 30), (70, 30), (35, 15)])
def test_the_middle_of_a_small_square_of_points_comes_near_the_middle(corner):
    K = np.array([[90.0, 0, 50], [0, 90, 30], [0, 0, 1]])
    pixels = np.array(corner) + np.array([[0.0, 0], [20, 0], [0, 20], [20, 20]]) + 4
    crop = crop_around(pixels, K, (100, 60), SIDE)
    np.testing.assert_allclose(crop.crop_from_cam @ crop.crop_from_cam.T, np.eye(3), atol=1e-12)
    aside, down = pixels.mean(0) - K[:2, 2]
    seen = np.array([aside, down, 90]) @ crop.crop_from_cam.T @ crop.K.T
    assert seen[0] / seen[2] == pytest.approx(SIDE / 2)
    off = crop.K[0, 0] * abs(down) * aside**2 / (2 * 90**3)  # the published angles are taken apart
    assert abs(seen[1] / seen[2] - SIDE / 2) <= off + 1e-9
    assert crop.crop_from_cam[0, 1] == 0  # the horizon stays level


def test_points_larger_than_the_photo_keep_its_shorter_side():
    K = np.array([[90.0, 0, 50], [0, 90, 30], [0, 0, 1]])
    crop = crop_around(np.array([[-500.0, -500], [500, 500]]), K, (100, 60), 57)
    assert crop.K[0, 0] == pytest.approx(np.linalg.norm([0.5, 0.5, 90]))
    np.testing.assert_allclose(crop.crop_from_cam[2] * crop.K[0, 0], [-0.5, -0.5, 90], atol=1e-4)


def test_a_turned_photo_shows_the_ball_where_its_camera_says():
    scene = ball_scene(4, 60, 50)
    points = scene.points.xyz
    turned = look_at_points(scene, points, SIDE)
    assert turned.cameras.sizes_px.tolist() == [[SIDE, SIDE]] * 4
    torch.testing.assert_close(turned.cameras.centers, scene.cameras.centers)
    ramps = np.stack([np.add.outer(2.0 * np.arange(50), 2.0 * np.arange(60))] * 3, -1).astype(np.uint8)
    ramped = look_at_points(dataclasses.replace(scene, images=[ramps] * 4), points, SIDE)
    for i in range(4):
        rays = turned.cameras.view_rays(i, torch.float64)
        pixels, _ = scene.cameras.project(i, rays.origins + rays.directions)
        inside = ((pixels > 1) & (pixels < torch.tensor([59, 49]))).all(-1).view(SIDE, SIDE).numpy()
        assert inside.any()
        expected = 2 * (pixels - 0.5).sum(-1).view(SIDE, SIDE).numpy()
        assert np.abs(ramped.images[i][..., 0] - expected)[inside].max() <= 0.5 + 1e-6
        ours, _ = turned.cameras.project(i, torch.from_numpy(points))
        span = ours.max(0).values - ours.min(0).values
        assert span.max() <= SIDE * 1.05
        assert span.max() > SIDE * 0.8


def test_a_photo_that_does_not_show_the_points_is_refused():
    scene = ball_scene(3, 60, 50)
    with pytest.raises(UserError, match="points are seen"):
        look_at_points(scene, np.array([[50.0, 50, 50], [60, 60, 60]]), SIDE)
