"""Photos turned to what is photographed: the published cameras, and pictures that agree with them."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.data.captures import ball_scene

from rilievo.cli import main
from rilievo.data.convert import convert
from rilievo.data.load import load_scene
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


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """A ball with a few points far from it."""
    scene = ball_scene(4, 60, 50)
    far = np.array([[9.0, 0, 0], [0, -9, 3]])
    points = dataclasses.replace(scene.points, xyz=np.concatenate([scene.points.xyz, far]), rgb=None)
    folder = tmp_path_factory.mktemp("captures") / "ball"
    return convert(dataclasses.replace(scene, points=points), folder, "nerfstudio")


def test_a_capture_is_turned_to_its_object_from_the_command_line(capture, tmp_path, capsys):
    out, region = tmp_path / "out", load_scene(capture).region
    assert main(["convert", str(capture), "-o", str(out), "--look-at-object", "--side", str(SIDE)]) == 0
    assert f"cropped to {SIDE} x {SIDE} pixels" in capsys.readouterr().out
    before, after = load_scene(capture), load_scene(out)
    assert after.cameras.sizes_px.tolist() == [[SIDE, SIDE]] * 4
    assert after.coverage is not None
    torch.testing.assert_close(after.cameras.centers, before.cameras.centers)
    object_points = before.points.xyz[np.linalg.norm(before.points.xyz - region.center, axis=1) <= region.radius]
    assert 2 <= len(object_points) < len(before.points.xyz)
    for i in range(4):
        seen, _ = after.cameras.project(i, torch.from_numpy(object_points))
        middle = (seen.max(0).values + seen.min(0).values) / 2
        assert (middle - SIDE / 2).abs().max() < 0.1 * SIDE
        assert (seen.max(0).values - seen.min(0).values).max() > 0.8 * SIDE


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--look-at-object", "--side", "0"), "--side: expected a number of pixels"),
        (("--side", "64"), "--side: expected --look-at-object"),
    ],
)
def test_a_wish_for_photos_of_no_size_is_refused(capture, tmp_path, capsys, flags, said):
    assert main(["convert", str(capture), "-o", str(tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [None, [[9.0, 0, 0], [0, 9, 0]]])
def test_a_capture_without_points_of_the_object_cannot_be_turned_to_it(left, tmp_path, capsys):
    scene = ball_scene(4, 60, 50)
    points = None if left is None else dataclasses.replace(scene.points, xyz=np.array(left), rgb=None)
    capture = convert(dataclasses.replace(scene, points=points), tmp_path / "ball", "nerfstudio")
    assert main(["convert", str(capture), "-o", str(tmp_path / "out"), "--look-at-object"]) == 2
    told = capsys.readouterr().err
    assert "points of the object" in told
    assert ("no points" if left is None else "0 of 2 points") in told
    assert not (tmp_path / "out").exists()
