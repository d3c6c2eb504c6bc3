"""Cameras project what their rays meet, in any frame and at any resolution, and refuse what is no camera."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.cameras.camera import Cameras
from rilievo.errors import UserError
from rilievo.geometry import sim3

from .cameras_at_hand import BARREL, NONE, PHONE, mixed_cameras, random_cameras


def random_similarity(seed: int) -> torch.Tensor:
    return sim3.exp(torch.randn(7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 2)


@given(st.integers(0, 2**31))
def test_a_point_on_a_ray_projects_to_the_rays_pixel(seed):
    cameras = mixed_cameras(seed)
    for i in range(len(cameras)):
        rays = cameras.view_rays(i, torch.float64)
        t = 0.1 + 10 * torch.rand(len(rays), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        pixels, depth = cameras.project(i, rays.at(t))
        torch.testing.assert_close(pixels, cameras.pixel_centers(i), atol=1e-8, rtol=0)
        torch.testing.assert_close(depth, t * (rays.directions @ cameras.forwards[i]), atol=1e-10, rtol=0)


def test_rays_of_mixed_cameras_are_those_of_each_alone():
    cameras = mixed_cameras()
    g = torch.Generator().manual_seed(1)
    index = torch.randint(len(cameras), (300,), generator=g)
    pixels = 20 * torch.rand(300, 2, generator=g)
    together = cameras.rays(index, pixels)
    assert together.directions.dtype == torch.float32
    for i in range(len(cameras)):
        mine = index == i
        alone = cameras[i].rays(torch.zeros(int(mine.sum()), dtype=torch.int64), pixels[mine])
        torch.testing.assert_close(together[mine].directions, alone.directions)
        torch.testing.assert_close(together[mine].origins, alone.origins)


def test_rays_are_unit_and_accurate_to_float32_far_from_the_origin():
    cameras = mixed_cameras()
    rays, exact = cameras.view_rays(1), cameras.view_rays(1, torch.float64)
    torch.testing.assert_close(rays.directions.double(), exact.directions, atol=6e-8, rtol=0)
    torch.testing.assert_close(exact.directions.norm(dim=-1), torch.ones(len(exact)).double(), atol=1e-15, rtol=0)


def test_pixels_run_row_after_row_from_the_middle_of_the_first():
    camera = random_cameras([NONE], [False])
    width, height = camera.sizes_px[0].tolist()
    centers = camera.pixel_centers(0)
    assert centers[0].tolist() == [0.5, 0.5]
    assert centers[1].tolist() == [1.5, 0.5]
    assert centers[width].tolist() == [0.5, 1.5]
    assert centers[-1].tolist() == [width - 0.5, height - 0.5]


def test_axes_are_right_down_and_forward():
    K = torch.tensor([[[10.0, 0, 5], [0, 10, 5], [0, 0, 1]]], dtype=torch.float64)
    camera = Cameras.pinhole(torch.eye(4, dtype=torch.float64)[None], K, torch.tensor([[10, 10]]))
    points = torch.tensor([[0.0, 0, 2], [1, 0, 2], [0, 1, 2], [0, 0, -2]])
    pixels, depth = camera.project(0, points)
    assert pixels[:3].tolist() == [[5, 5], [10, 5], [5, 10]]
    assert pixels[3].isnan().all()
    assert depth.tolist() == [2, 2, 2, -2]


@given(st.integers(0, 2**31))
def test_moving_scene_and_camera_together_changes_no_pixel(seed):
    cameras, new_from_world = mixed_cameras(seed), random_similarity(seed)
    moved = cameras.transformed(new_from_world)
    for i in range(len(cameras)):
        points = cameras.view_rays(i, torch.float64).at(torch.full((int(cameras.sizes_px[i].prod()),), 2.0).double())
        before, depth = cameras.project(i, points)
        after, new_depth = moved.project(i, sim3.apply(new_from_world, points))
        torch.testing.assert_close(after, before, atol=1e-8, rtol=0)
        torch.testing.assert_close(new_depth, depth * sim3.split(new_from_world)[0], atol=1e-9, rtol=1e-9)


@given(st.integers(0, 2**31))
def test_a_frame_and_back_is_where_we_were(seed):
    cameras, S = mixed_cameras(seed), random_similarity(seed)
    back = cameras.transformed(S).transformed(sim3.inverse(S))
    torch.testing.assert_close(back.world_from_cam, cameras.world_from_cam, atol=1e-11, rtol=0)


@pytest.mark.parametrize("new", [{"width": 7}, {"height": 50}, {"width": 13, "height": 8}, {"factor": 0.37}])
def test_resizing_moves_a_point_by_the_true_ratio_of_each_axis(new):
    cameras = mixed_cameras()
    small = cameras.resized(**new)
    for i in range(len(cameras)):
        rays = cameras.view_rays(i, torch.float64)
        points = rays.at(torch.ones(len(rays), dtype=torch.float64))
        ratio = small.sizes_px[i].double() / cameras.sizes_px[i]
        torch.testing.assert_close(
            small.project(i, points)[0], cameras.project(i, points)[0] * ratio, atol=1e-9, rtol=0
        )
    if "width" in new:
        assert (small.sizes_px[:, 0] == new["width"]).all()
    if "height" in new:
        assert (small.sizes_px[:, 1] == new["height"]).all()


def test_cam_from_world_cancels_world_from_cam():
    cameras = mixed_cameras()
    eye = torch.eye(4, dtype=torch.float64).expand(len(cameras), 4, 4)
    torch.testing.assert_close(cameras.cam_from_world @ cameras.world_from_cam, eye, atol=1e-14, rtol=0)
    at_eye = sim3.apply(cameras.cam_from_world[0], cameras.centers[0])
    torch.testing.assert_close(at_eye, torch.zeros(3).double(), atol=1e-14, rtol=0)


def test_opengl_poses_look_backwards_and_stand_upright():
    cameras = mixed_cameras()
    gl = cameras.world_from_cam_opengl
    torch.testing.assert_close(-gl[:, :3, 2], cameras.forwards)
    again = Cameras.from_opengl(gl, cameras.K, cameras.sizes_px, cameras.distortion, cameras.fisheye)
    assert (again.world_from_cam == cameras.world_from_cam).all()
    assert (again.distortion == cameras.distortion).all()
    assert Cameras.from_opengl(gl, cameras.K, cameras.sizes_px).distortion.norm() == 0


def test_choosing_and_joining_cameras():
    cameras = mixed_cameras()
    assert len(cameras[2]) == 1
    assert (cameras[-1].K[0] == cameras.K[4]).all()
    assert (cameras[[0, 3]].centers == cameras.centers[[0, 3]]).all()
    assert (cameras[cameras.fisheye].K[0] == cameras.K[4]).all()
    assert len(list(cameras)) == len(cameras)
    assert len(cameras[[]]) == 0
    joined = Cameras.concatenate([cameras[:2], cameras[2:]])
    assert (joined.world_from_cam == cameras.world_from_cam).all()
    with pytest.raises(IndexError):
        cameras[5]


def test_points_past_the_fold_of_a_lens_are_not_in_the_picture():
    camera = random_cameras([[-0.3, 0, 0, 0, 0, 0, 0, 0]], [False])  # r(1 − 0.3 r²) turns back at r = 1.054
    in_cam = torch.tensor([[0.3, 0, 1], [1.82, 0, 1]], dtype=torch.float64)  # 1.82 folds back onto 0.007
    pixels, depth = camera.project(0, sim3.apply(camera.world_from_cam[0], in_cam))
    assert pixels[0].isfinite().all()
    assert pixels[1].isnan().all()
    torch.testing.assert_close(depth, torch.ones(2).double())


def test_pixels_that_no_direction_reaches_are_told_and_still_have_a_ray():
    camera = random_cameras([[-0.3, 0, 0, 0, 0, 0, 0, 0]], [False])  # its image is a disc of radius 0.703 focal lengths
    pixels = torch.stack((camera.K[0, :2, 2], camera.K[0, :2, 2] + 25)).double()
    index = torch.zeros(2, dtype=torch.int64)
    assert camera.reachable(index, pixels).tolist() == [True, False]
    assert camera.rays(index, pixels).directions.isfinite().all()


def test_fisheye_sees_behind_itself():
    camera = random_cameras([NONE], [True])
    in_cam = torch.tensor([[1.0, 0.0, -0.5]], dtype=torch.float64)
    pixels, depth = camera.project(0, sim3.apply(camera.world_from_cam[0], in_cam))
    assert depth[0] < 0
    back = camera.rays(torch.tensor([0]), pixels, torch.float64).directions
    torch.testing.assert_close(back, (in_cam / in_cam.norm()) @ camera.world_from_cam[0, :3, :3].mT)
    offset = pixels[0, 0] - camera.K[0, 0, 2]
    torch.testing.assert_close(offset, camera.K[0, 0, 0] * (math.pi - math.atan2(1, 0.5)))


def broken(field: str, where: tuple, value: float) -> dict:
    wrong = getattr(mixed_cameras(), field).clone()
    wrong[where] = value
    return {field: wrong}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken("world_from_cam", (2, 0, 3), math.nan), "camera 2: expected a finite pose"),
        (broken("world_from_cam", (1, 3, 0), 1.0), "camera 1: expected a pose whose last row"),
        (broken("world_from_cam", (3, slice(3), 0), 0.1), "camera 3: expected a rotation"),
        (broken("K", (0, 0, 0), -30.0), "camera 0: expected positive focal"),
        (broken("K", (4, 1, 2), math.inf), "camera 4: expected a finite K"),
        (broken("K", (4, 2, 2), 2.0), "camera 4: expected K ="),
        (broken("sizes_px", (1, 0), 0), "camera 1: expected an image"),
        (broken("distortion", (1, 0), math.nan), "camera 1: expected finite distortion"),
        (broken("distortion", (4, 6), 0.1), "camera 4: expected a fisheye"),
    ],
)
def test_what_is_no_camera_is_refused_by_number(change, message):
    with pytest.raises(UserError, match=message):
        replace(mixed_cameras(), **change)


def test_a_mirrored_pose_is_refused():
    cameras = random_cameras([PHONE, BARREL], [False, False])
    pose = cameras.world_from_cam.clone()
    pose[1, :3, 0] *= -1
    with pytest.raises(UserError, match=r"camera 1.*mirror"):
        replace(cameras, world_from_cam=pose)
