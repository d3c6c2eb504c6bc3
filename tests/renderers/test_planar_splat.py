"""Discs of a plane show the plane: its depth wherever a ray meets it, its normal, and its picture in other cameras."""

import math

import pytest
import torch
import torch.nn.functional as F

from rilievo.gaussians.cloud import GaussianCloud
from rilievo.renderers.patch_blend import (
    SourceViews,
    nearest_views,
    patch_offsets,
    plane_homographies,
    plane_patches,
    warped_patches,
)
from rilievo.renderers.planar_splat import flat, normals_of_depth, pixel_rays, planes_at_pixels, render_planes

SIZE = (48, 40)
K = torch.tensor([[60.0, 0.0, 24.0], [0.0, 60.0, 20.0], [0.0, 0.0, 1.0]])
NORMAL = F.normalize(torch.tensor([0.5, -0.3, -1.0]), dim=0)
DISTANCE = 3.0
"""Of the plane n·x + d = 0 in front of a camera at the origin."""


@pytest.fixture
def discs():
    """A few hundred large discs of the plane, all round what the camera sees of it."""
    generator = torch.Generator().manual_seed(0)
    u = F.normalize(torch.linalg.cross(NORMAL, torch.tensor([0.0, 1, 0])), dim=0)
    v = torch.linalg.cross(NORMAL, u)
    at = (torch.rand(500, 2, generator=generator) - 0.5) * 8
    points = -DISTANCE * NORMAL + at[:, :1] * u + at[:, 1:] * v
    points = points[points[:, 2] > 0.5]
    cloud = GaussianCloud.from_points(points, torch.full_like(points, 0.5), torch.full((len(points),), 0.3), 0, 0.9)
    cloud.log_scales[:, 2] = math.log(1e-4)
    cloud.quats[:] = torch.cat([1 + NORMAL[2:], torch.stack([-NORMAL[1], NORMAL[0]]), torch.zeros(1)])
    return flat(cloud)


def true_depth():
    rays = pixel_rays(K, SIZE)
    return -DISTANCE / (rays @ NORMAL)


def drawn(cloud):
    return render_planes(cloud, torch.full_like(cloud.means, 0.5), torch.eye(4), K, SIZE)


def test_depth_of_a_slanted_plane_is_the_algebraic_one(discs):
    seen = drawn(discs)
    solid = seen.alpha > 0.9
    assert solid.float().mean() > 0.8
    torch.testing.assert_close(seen.depth[solid], true_depth()[solid], rtol=1e-4, atol=0)


@pytest.mark.parametrize("slant_deg", [0.0, 60.0, 85.0, 90.0])
def test_a_disc_covers_as_much_of_the_picture_as_its_slant_leaves_of_it(slant_deg):
    cloud = GaussianCloud.from_points(torch.tensor([[0.0, 0, 3]]), torch.full((1, 3), 0.5), torch.tensor([0.1]), 0, 0.5)
    cloud.log_scales[:, 2] = math.log(1e-4)
    half = math.radians(slant_deg) / 2
    cloud.quats[:] = torch.tensor([math.cos(half), math.sin(half), 0, 0])
    covered = drawn(flat(cloud)).alpha.sum().item()
    sigma_px = 0.1 * 60 / 3
    frontal = 0.5 * 2 * math.pi * sigma_px**2
    assert covered == pytest.approx(frontal * math.cos(math.radians(slant_deg)), rel=0.1, abs=0.03 * frontal)


def test_normals_face_the_eye_whichever_way_discs_are_turned(discs):
    over = torch.tensor([0.0, 1.0, 0.0, 0.0])  # half a turn about x, after which z points the other way
    w, x, y, z = discs.quats.unbind(-1)
    turned = torch.stack([-x, w, z, -y], dim=-1) * over[1]
    discs.quats[::2] = turned[::2]
    seen = drawn(discs)
    solid = seen.alpha > 0.9
    normals = F.normalize(seen.normals[solid], dim=-1)
    torch.testing.assert_close(normals, NORMAL.expand_as(normals), atol=1e-4, rtol=0)


def test_chosen_pixels_see_what_the_picture_shows_there(discs):
    seen = drawn(discs)
    pixels = torch.tensor([[3, 5], [20, 20], [47, 39], [3, 5]])
    planes = planes_at_pixels(discs, torch.eye(4), K, SIZE, pixels)
    x, y = pixels.T
    torch.testing.assert_close(planes.alpha, seen.alpha[y, x])
    torch.testing.assert_close(planes.depth(seen.rays[y, x]), seen.depth[y, x])


def test_a_depth_picture_of_a_plane_has_its_normal():
    normals = normals_of_depth(true_depth(), pixel_rays(K, SIZE))
    inner = normals[1:-1, 1:-1]
    torch.testing.assert_close(inner, NORMAL.expand_as(inner), atol=1e-3, rtol=0)
    assert not normals[0].any()


def test_the_thickness_of_discs_is_not_learned(discs):
    cloud = GaussianCloud(**{name: values.clone().requires_grad_() for name, values in discs.items()})
    flat(cloud).scales.sum().backward()
    assert not cloud.log_scales.grad[:, 2].any()
    assert cloud.log_scales.grad[:, :2].all()


def other_cameras():
    """Three cameras beside the first, which look the same way, and noise for pictures."""
    cam_from_world = torch.eye(4).repeat(3, 1, 1)
    cam_from_world[:, :3, 3] = torch.tensor([[0.4, 0, 0], [0, 0.3, 0.1], [-0.3, 0.2, 0]])
    images = torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    return SourceViews(images, K.expand(3, 3, 3), cam_from_world)


def test_patches_of_planes_are_those_of_their_homographies():
    sources, half = other_cameras(), 2
    pixels = torch.tensor([[20.5, 18.5], [30.5, 22.5]])
    depth = true_depth()[pixels[:, 1].long(), pixels[:, 0].long()]
    points = pixel_rays(K, SIZE)[pixels[:, 1].long(), pixels[:, 0].long()] * depth[:, None]
    normals = NORMAL.expand(2, 3)
    H = plane_homographies(points, normals, K, torch.eye(4), sources)
    expected, _ = warped_patches(H, pixels, half, sources)
    found, whole = plane_patches(pixels, normals, torch.full((2,), DISTANCE), half, K, torch.eye(4), sources)
    assert found.shape == (3, 2, len(patch_offsets(half)), 3)
    assert whole.all()
    torch.testing.assert_close(found.transpose(0, 1), expected, atol=2e-4, rtol=0)


def test_patches_pull_at_the_distance_of_their_planes():
    distance = torch.full((1,), DISTANCE, requires_grad=True)
    seen, _ = plane_patches(torch.tensor([[24.5, 20.5]]), NORMAL[None], distance, 2, K, torch.eye(4), other_cameras())
    seen.square().sum().backward()
    assert distance.grad.abs() > 0


def test_the_nearest_views_look_the_same_way():
    centers = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.1, 0, 0]])
    forwards = torch.tensor([[0.0, 0, 1], [0, 0, -1], [0, 0.1, 1]])
    assert nearest_views(centers, F.normalize(forwards, dim=-1), 0, 2).tolist() == [2, 1]
