"""Pictures from rays: depth along the camera's axis, and chunks that leave no seam."""

import pytest
import torch

import rilievo.engine.render as render
from rilievo.cameras.camera import Cameras
from rilievo.cameras.orientation import look_at
from rilievo.engine.render import render_rays
from rilievo.geometry.box import ray_ball

RADIUS = 0.8
CPU = torch.device("cpu")


@pytest.fixture
def camera() -> Cameras:
    """A wide lens at a slant, so that depth along z and distance along the ray differ by a tenth."""
    pose = look_at(
        torch.tensor([[2.0, 1.0, 0.5]], dtype=torch.float64),
        torch.zeros(3, dtype=torch.float64),
        torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
    )
    K = torch.tensor([[[16.0, 0, 14.0], [0, 15.0, 9.0], [0, 0, 1]]], dtype=torch.float64)
    return Cameras.pinhole(pose, K, torch.tensor([[30, 19]]))


def ball(opacity: float):
    """A ball of one opacity, seen by its formula; normals are not unit, as Σ w n is not."""

    def look(rays):
        near, far = ray_ball(rays.origins, rays.directions, torch.zeros(3), RADIUS)
        hit = (far > near) & (far > 0)
        weight = hit * opacity
        distance = torch.where(hit, near, 0)
        normals = rays.at(distance) / RADIUS * weight[:, None]
        rgb = (rays.directions + 1) / 2
        return {"rgb": rgb, "opacity": weight, "distance": distance * weight, "normals": normals}

    return look


@pytest.mark.parametrize("opacity", [1.0, 0.75])
def test_depth_is_the_camera_z_of_the_point_that_is_seen(camera, opacity):
    seen = render_rays(ball(opacity), camera, 0, CPU)
    assert seen.rgb.shape == (19, 30, 3)
    rays = camera.view_rays(0)
    near, far = ray_ball(rays.origins, rays.directions, torch.zeros(3), RADIUS)
    hit = (far > near) & (far > 0)
    cam_from_world = camera.cam_from_world[0].float()
    z = rays.at(near) @ cam_from_world[2, :3] + cam_from_world[2, 3]
    assert 0.1 < hit.float().mean() < 0.9
    assert torch.allclose(seen.depth.flatten()[hit], z[hit], atol=1e-5)
    assert seen.depth.flatten()[~hit].eq(0).all()
    assert (near[hit] - z[hit]).max() > 0.05  # the two do differ here


def test_what_is_hardly_there_has_no_depth(camera):
    assert render_rays(ball(0.4), camera, 0, CPU).depth.eq(0).all()


def test_normals_are_unit_where_something_is_seen(camera):
    seen = render_rays(ball(0.75), camera, 0, CPU)
    assert seen.normals is not None
    assert torch.allclose(seen.normals.norm(dim=-1)[seen.opacity > 0], torch.ones(()), atol=1e-5)


def test_rows_of_the_picture_are_rows_of_the_photo(camera):
    seen = render_rays(ball(0.0), camera, 0, CPU)
    direction = camera.rays(torch.tensor([0]), torch.tensor([[7.5, 3.5]])).directions[0]
    assert torch.allclose(seen.rgb[3, 7], (direction + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 7, 30, 569, 570, 571])
def test_where_rays_are_divided_does_not_show(camera, chunk, monkeypatch):
    whole = render_rays(ball(0.9), camera, 0, CPU)
    monkeypatch.setitem(render.CHUNK, "cpu", chunk)
    parts = render_rays(ball(0.9), camera, 0, CPU)
    for name in ("rgb", "opacity", "depth", "normals"):
        # torch's vectorised loops may round the last few rays of a chunk differently
        assert torch.allclose(getattr(parts, name), getattr(whole, name), atol=1e-6), name
