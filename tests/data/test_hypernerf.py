"""HyperNeRF and iPhone captures: lenses, frames, times and splits as they were meant."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rilievo.data.load import load_scene
from rilievo.errors import UserError

from .clips import hypernerf, hypernerf_camera, write


def test_a_point_on_the_axis_of_a_hypernerf_camera_is_seen_at_its_principal_point(tmp_path):
    scene = load_scene(hypernerf(tmp_path, principal_point=[30.0, 50.0]))
    camera = scene.cameras[0]
    pixel, depth = camera.project(0, camera.centers + 3 * camera.forwards)
    np.testing.assert_allclose(pixel[0], [15.0, 25.0], atol=1e-9)  # at half size
    np.testing.assert_allclose(depth, 3.0)


def test_hypernerf_lens_is_the_published_polynomial(tmp_path):
    k1, k2, k3, p1, p2, skew, aspect = 0.05, -0.02, 0.01, 0.003, -0.004, 0.7, 1.1
    lens = {"radial_distortion": [k1, k2, k3], "tangential_distortion": [p1, p2], "skew": skew}
    camera = load_scene(hypernerf(tmp_path, pixel_aspect_ratio=aspect, **lens)).cameras[0]
    x, y = 0.2, -0.3
    in_cam = torch.tensor([x, y, 1.0, 1.0], dtype=torch.float64)
    pixel, _ = camera.project(0, (camera.world_from_cam[0] @ in_cam)[None, :3])
    r = x * x + y * y
    radial = 1 + r * (k1 + r * (k2 + r * k3))
    dx = x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x)
    dy = y * radial + 2 * p2 * x * y + p1 * (r + 2 * y * y)
    full = [70.5 * dx + skew * dy + 36, 70.5 * aspect * dy + 48]
    np.testing.assert_allclose(pixel[0], np.array(full) / 2, atol=1e-9)


def test_results_leave_a_hypernerf_scene_in_capture_units(tmp_path):
    scene = load_scene(hypernerf(tmp_path)).in_capture_frame()
    np.testing.assert_allclose(scene.cameras.centers[3], [0.3, -0.3, 1.2], atol=1e-12)


def test_hypernerf_points_move_with_the_cameras(tmp_path):
    rng = np.random.default_rng(1)
    xyz = rng.normal(size=(20, 3))
    hypernerf(tmp_path)
    np.save(tmp_path / "points.npy", np.vstack((xyz, [np.nan, 0, 0])))
    points = load_scene(tmp_path).points
    assert points is not None
    np.testing.assert_allclose(points.xyz, (xyz - [0.1, 0.05, -0.4]) * 0.25)


@pytest.mark.parametrize("stamps", ["time_id", "warp_id", "appearance_id"])
def test_the_last_frame_of_a_clip_is_at_time_one(tmp_path, stamps):
    scene = load_scene(hypernerf(tmp_path, stamps=stamps))
    np.testing.assert_allclose(scene.times, np.arange(8) / 7, rtol=1e-6)
    assert scene.test_views == (7,)


def test_iphone_captures_keep_time_by_appearance(tmp_path):
    hypernerf(tmp_path, n=3)
    write(tmp_path / "emf.json", {})
    names = [f"{i:06d}" for i in range(3)]
    write(tmp_path / "metadata.json", {n: {"appearance_id": i, "time_id": 0} for i, n in enumerate(names)})
    np.testing.assert_allclose(load_scene(tmp_path).times, [0.0, 0.5, 1.0])


def test_without_validation_ids_every_fourth_frame_trains_and_every_fourth_tests(tmp_path):
    hypernerf(tmp_path, n=9)
    write(tmp_path / "dataset.json", {"ids": [f"{i:06d}" for i in range(9)]})
    scene = load_scene(tmp_path)
    numbers = [int(Path(name).stem) for name in scene.names]
    assert [numbers[i] for i in scene.train_views] == [0, 4, 8]
    assert [numbers[i] for i in scene.test_views] == [2, 6]


def test_no_frame_both_trains_and_tests(tmp_path):
    hypernerf(tmp_path, n=4)
    write(tmp_path / "dataset.json", {"train_ids": [f"{i:06d}" for i in range(4)], "val_ids": ["000001"]})
    scene = load_scene(tmp_path)
    assert len(scene) == 4
    assert [scene.names[i] for i in scene.test_views] == ["rgb/2x/000001.png"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"position": [float("nan"), 0, 0]}, "finite"),
        ({"orientation": [[1, 0], [0, 1]]}, "finite"),
        ({"orientation": np.diag([1.0, 1.0, -1.0]).tolist()}, "rotation"),
        ({"focal_length": None}, "intrinsics"),
        ({"image_size": [72]}, "image_size"),
    ],
)
def test_a_hypernerf_frame_with_a_broken_camera_is_dropped_with_its_reason(tmp_path, changes, reason):
    hypernerf(tmp_path)
    write(tmp_path / "camera" / "000002.json", hypernerf_camera(**changes))
    scene = load_scene(tmp_path)
    assert len(scene) == 7
    assert "000002" in scene.dropped[0].name
    assert reason in scene.dropped[0].reason


def test_hypernerf_frames_without_photo_camera_or_time_are_dropped(tmp_path):
    hypernerf(tmp_path)
    (tmp_path / "rgb/2x/000001.png").unlink()
    (tmp_path / "camera/000003.json").unlink()
    times = {f"{i:06d}": {"time_id": i} for i in range(8) if i != 5}
    write(tmp_path / "metadata.json", times)
    scene = load_scene(tmp_path)
    assert len(scene) == 5
    assert sorted(drop.name for drop in scene.dropped) == ["000001", "000003", "000005"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("scene.json", {"scale": 0.0, "center": [0, 0, 0]}, "scale"),
        ("scene.json", {"scale": 1.0, "center": [0, 0]}, "center"),
        ("metadata.json", {"000000": {"camera_id": 0}}, "time_id"),
        ("dataset.json", {"ids": []}, "ids"),
        ("dataset.json", {"train_ids": [1, 2]}, "names"),
    ],
)
def test_a_hypernerf_capture_without_frame_times_or_ids_is_refused(tmp_path, name, content, said):
    hypernerf(tmp_path)
    write(tmp_path / name, content)
    with pytest.raises(UserError, match=said):
        load_scene(tmp_path)


def test_points_that_are_no_points_are_refused(tmp_path):
    np.save(hypernerf(tmp_path) / "points.npy", np.zeros((4, 2)))
    with pytest.raises(UserError, match=r"points \[n, 3\]"):
        load_scene(tmp_path)


def test_measured_depth_of_an_iphone_is_found_and_its_channel_dropped(tmp_path):
    hypernerf(tmp_path, n=3)
    (tmp_path / "depth" / "2x").mkdir(parents=True)
    measured = np.random.default_rng(2).uniform(1, 2, (48, 36, 1)).astype(np.float32)
    np.save(tmp_path / "depth" / "2x" / "000001.npy", measured)
    scene = load_scene(tmp_path)
    np.testing.assert_array_equal(scene.depth(1), measured[..., 0])
    assert scene.depth(0) is None
