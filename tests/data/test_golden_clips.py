"""The published loaders' numbers for clips: cameras of HyperNeRF, LLFF, a rig and a fixed camera, and scaled depth."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rilievo.data.load import load_scene
from rilievo.data.nvidia_dynamic import relative_pose

from .clips import hypernerf, photo, write

pytestmark = pytest.mark.golden

ATOL = 1e-5


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "dynamic" / "dataset_cameras.npz") as archive:
        return {key: archive[key].astype(np.float64) for key in archive.files}


@pytest.fixture
def published_capture(tmp_path: Path) -> Path:
    """The camera that the published numbers are of; see their README."""
    lens = {"focal_length": 700.5, "principal_point": [360, 480], "image_size": [720, 960]}
    hypernerf(tmp_path, n=1, position=[0.4, -0.3, 1.2], **lens)
    write(tmp_path / "dataset.json", {"train_ids": ["000000"], "val_ids": []})
    photo(tmp_path / "rgb/2x/000000.png", 360, 480)
    return tmp_path


def published_extrinsics(scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R (camera to world), T (world to camera) and the whole of cam_from_world, of the first camera."""
    cam_from_world = scene.cameras.cam_from_world[0].numpy()
    return cam_from_world[:3, :3].T, cam_from_world[:3, 3], cam_from_world


def angles_of_view(scene) -> np.ndarray:
    K, size = scene.cameras.K[0].numpy(), scene.cameras.sizes_px[0].numpy()
    return 2 * np.arctan(size / (2 * K[[0, 1], [0, 1]]))


def test_hypernerf_cameras_are_the_published_ones(published, published_capture):
    scene = load_scene(published_capture)
    R, T, cam_from_world = published_extrinsics(scene)
    np.testing.assert_allclose(R, published["hyper/R"], atol=ATOL)
    np.testing.assert_allclose(T, published["hyper/T"], atol=ATOL)
    np.testing.assert_allclose(cam_from_world, published["hyper/w2c"], atol=ATOL)
    np.testing.assert_allclose(angles_of_view(scene), published["hyper/fov_xy"], atol=ATOL)


def test_normalised_hypernerf_cameras_are_the_published_ones(published, published_capture):
    mean, scale = np.array([0.02, -0.1, 0.7]), 1.7
    new_from_world = np.diag([scale, scale, scale, 1.0])
    new_from_world[:3, 3] = -scale * mean
    scene = load_scene(published_capture).transformed(new_from_world)
    R, T, cam_from_world = published_extrinsics(scene)
    np.testing.assert_allclose(R, published["hyper_rescaled/R"], atol=ATOL)
    np.testing.assert_allclose(T, published["hyper_rescaled/T"], atol=ATOL)
    np.testing.assert_allclose(cam_from_world, published["hyper_rescaled/w2c"], atol=ATOL)
    capture_scale = np.cbrt(np.linalg.det(scene.capture_from_world[:3, :3].numpy()))
    np.testing.assert_allclose(1 / capture_scale, published["hyper_rescaled/depth_factor"], atol=ATOL)
    pixels, _ = scene.cameras.project(0, torch.from_numpy(published["hyper_rescaled/world_points"]))
    np.testing.assert_allclose(pixels, published["hyper_rescaled/pixels_halfres"], atol=1e-3)


def test_llff_poses_are_the_published_ones(published, tmp_path):
    rows = published["llff/poses_bounds"]
    np.save(tmp_path / "poses_bounds.npy", rows)
    height, width = rows.reshape(-1, 17)[0, :15].reshape(3, 5)[:2, 4]
    for i in range(len(rows)):
        photo(tmp_path / "images" / f"{i:03d}.png", int(width) // 8, int(height) // 8)
    cameras = load_scene(tmp_path).cameras
    np.testing.assert_allclose(cameras.world_from_cam, published["llff/c2w"], atol=ATOL)
    np.testing.assert_allclose(cameras.world_from_cam[:, :3, :3], published["llff/R"], atol=ATOL)
    np.testing.assert_allclose(cameras.cam_from_world[:, :3, 3], published["llff/T"], atol=ATOL)


def test_poses_of_a_rig_relative_to_its_training_camera_are_the_published_ones(published):
    at = {key.removeprefix("metric/"): value for key, value in published.items() if key.startswith("metric/")}
    relative = relative_pose(at["c2w_train"], at["c2w_test"], float(at["colmap_to_depth_scale"]))
    np.testing.assert_allclose(relative, at["relative_pose"], atol=ATOL)
    np.testing.assert_allclose(at["c2w_scene_train_cam"] @ relative, at["c2w_rendered"], atol=ATOL)


def test_a_fixed_camera_is_the_published_one(shared):
    with np.load(shared / "golden" / "dynamic" / "flow.npz") as archive:
        at = {key: archive[key] for key in archive.files if key.startswith(("loader/", "dataset/"))}
    scene = load_scene(shared / "golden" / "dynamic" / "mini_selfmade")
    scale = float(at["dataset/rescale_scale"])
    new_from_world = np.diag([scale, scale, scale, 1.0])
    new_from_world[:3, 3] = -scale * at["dataset/rescale_min_max_mean"][2]
    scene = scene.transformed(new_from_world).subset([2])
    R, T, cam_from_world = published_extrinsics(scene)
    np.testing.assert_allclose(R, at["loader/R"], atol=ATOL)
    np.testing.assert_allclose(T, at["loader/T"], atol=ATOL)
    np.testing.assert_allclose(cam_from_world, at["loader/w2c"], atol=ATOL)
    np.testing.assert_allclose(angles_of_view(scene), at["loader/fov_xy"], atol=ATOL)
    np.testing.assert_allclose(scene.cameras.K[0, 0, 0], at["loader/focal"], atol=1e-3)
    np.testing.assert_allclose(scene.times, at["loader/time"], atol=ATOL)


def test_a_fixed_camera_projects_as_the_published_matrix_does(shared):
    """OpenGL's kind of matrix, whose corners are the picture's."""
    with np.load(shared / "golden" / "dynamic" / "flow.npz") as archive:
        matrix = archive["loader/projection_matrix"].astype(np.float64)
    matrix = matrix if matrix[3, 2] == 1 else matrix.T
    cameras = load_scene(shared / "golden" / "dynamic" / "mini_selfmade").cameras
    points = np.random.default_rng(0).uniform([-0.1, -0.1, 1], [0.1, 0.1, 9], (50, 3))
    clipped = np.hstack((points, np.ones((50, 1)))) @ matrix.T
    expected = (clipped[:, :2] / clipped[:, 3:] + 1) * cameras.sizes_px[0].numpy() / 2
    np.testing.assert_allclose(cameras.project(0, torch.from_numpy(points))[0], expected, atol=1e-3)


def test_depth_of_a_fixed_camera_is_the_published_one(shared):
    with np.load(shared / "golden" / "dynamic" / "flow.npz") as archive:
        published, scale = archive["loader/depth_rescaled"], float(archive["dataset/rescale_scale"])
    depth = load_scene(shared / "golden" / "dynamic" / "mini_selfmade").depth(2)
    np.testing.assert_allclose(depth * scale, published, rtol=ATOL, atol=ATOL)
