"""Rays agree with the published ones, written in OpenGL axes there: x right, y up, z backward."""

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import FLIP_YZ, Cameras
from rilievo.cameras.rays import Rays

TOLERANCE = {"atol": 1e-6, "rtol": 1e-5}
TO_OPENGL = np.array(FLIP_YZ[:3])


@pytest.fixture
def published(golden):
    return np.load(golden / "cameras.npz")


@pytest.fixture
def cameras(published) -> Cameras:
    """The published poses (OpenGL axes) with the published lens."""
    top = torch.from_numpy(published["get_rays/c2w"]).double()
    pose = torch.eye(4, dtype=torch.float64).repeat(len(top), 1, 1)
    pose[:, :3] = top
    width, height, fx, fy, cx, cy = published["ray_directions/W_H_fx_fy_cx_cy"].astype(np.float64)
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64).repeat(len(top), 1, 1)
    sizes_px = torch.tensor([[int(width), int(height)]]).repeat(len(top), 1)
    return Cameras.from_opengl(pose, K, sizes_px)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.golden
@pytest.mark.parametrize(("name", "shift"), [("centers", 0.0), ("no_centers", -0.5)])
def test_published_directions_are_matched_with_and_without_half_a_pixel(published, cameras, name, shift):
    still = Cameras.pinhole(torch.eye(4, dtype=torch.float64)[None], cameras.K[:1], cameras.sizes_px[:1])
    pixels = still.pixel_centers(0) + shift
    in_cam = still.rays(torch.zeros(len(pixels), dtype=torch.int64), pixels, torch.float64).directions.numpy()
    expected = published[f"ray_directions/{name}"].reshape(-1, 3)
    np.testing.assert_allclose(in_cam / in_cam[:, 2:] * TO_OPENGL, expected, **TOLERANCE)


@pytest.mark.golden
def test_published_rays_of_one_image_are_matched(published, cameras):
    rays = cameras.view_rays(0)
    np.testing.assert_allclose(rays.origins, published["get_rays/single_o"], **TOLERANCE)
    np.testing.assert_allclose(rays.directions, unit(published["get_rays/single_d"]), **TOLERANCE)


@pytest.mark.golden
def test_published_rays_of_all_images_are_matched(published, cameras):
    for i in range(len(cameras)):
        rays = cameras.view_rays(i)
        shape = published["get_rays/batch_keepdim_o"].shape[1:]
        np.testing.assert_allclose(rays.origins.reshape(shape), published["get_rays/batch_keepdim_o"][i], **TOLERANCE)
        expected = unit(published["get_rays/batch_keepdim_d"][i])
        np.testing.assert_allclose(rays.directions.reshape(shape), expected, **TOLERANCE)


@pytest.mark.golden
def test_published_rays_with_a_camera_each_are_matched(published, cameras):
    directions = published["get_rays/packed_directions"].astype(np.float64) * TO_OPENGL
    index = torch.arange(len(directions))
    in_px = (cameras.K.numpy() @ directions[:, :, None]).squeeze(-1)
    rays = cameras.rays(index, torch.from_numpy(in_px[:, :2] / in_px[:, 2:]))
    np.testing.assert_allclose(rays.origins, published["get_rays/packed_o"], **TOLERANCE)
    np.testing.assert_allclose(rays.directions, unit(published["get_rays/packed_d"]), **TOLERANCE)


@pytest.mark.golden
def test_published_points_on_rays_are_matched(published):
    rays = Rays(torch.from_numpy(published["cast_rays/o"]), torch.from_numpy(published["cast_rays/d"]))
    points = rays.at(torch.from_numpy(published["cast_rays/z_vals"]))
    np.testing.assert_allclose(points, published["cast_rays/points"], **TOLERANCE)
    one_each = rays.at(torch.from_numpy(published["cast_rays/z_vals"][:, 0]))
    np.testing.assert_allclose(one_each, published["cast_rays/points"][:, 0], **TOLERANCE)


def test_chosen_rays_keep_origin_and_direction_together():
    rays = Rays(torch.arange(12.0).reshape(4, 3), -torch.arange(12.0).reshape(4, 3))
    for which in (slice(1, 3), torch.tensor([3, 0]), torch.tensor([True, False, False, True])):
        chosen = rays[which]
        assert (chosen.origins == -chosen.directions).all()
        assert (chosen.origins == rays.origins[which]).all()
    assert len(rays[1:3]) == 2
