"""The photographer's plane, spheres, Fibonacci directions, and the published numbers of all small maps."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.shading.color import linear_to_srgb, srgb_to_linear
from rilievo.shading.directions import azimuth_elevation, fibonacci_sphere
from rilievo.shading.light import exp_radiance
from rilievo.shading.photographer import encode_plane, integrated_sines, meet_plane, photographer_frame
from rilievo.shading.ray_sphere import exit_distance, exit_point, near_far, pulled_inside
from rilievo.shading.reflection import reflect

CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}


@pytest.fixture
def published(golden) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in np.load(golden / "nero_encodings.npz").items()}


def test_rays_leave_the_unit_ball_on_its_sphere():
    generator = torch.Generator().manual_seed(0)
    points = 0.55 * torch.randn(200, 3, generator=generator, dtype=torch.float64).clamp(-1, 1)
    d = normalize(torch.randn(200, 3, generator=generator, dtype=torch.float64), dim=-1)
    left = points + exit_distance(points, d) * d
    torch.testing.assert_close(left.norm(dim=-1), torch.ones(200, dtype=torch.float64), atol=2e-6, rtol=0)
    torch.testing.assert_close(exit_point(points, d), normalize(left, dim=-1))
    near, far = near_far(points - 3 * d, d)
    torch.testing.assert_close(far - near, torch.full_like(near, 2.0))


def test_the_photographer_stands_upright_and_looks_along_the_view():
    R = torch.linalg.qr(torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(1)).double())[0]
    R = R * torch.linalg.det(R).sign()[:, None, None]
    frame = photographer_frame(torch.cat([R, torch.rand(3, 3, 1).double()], -1))
    torch.testing.assert_close(frame[:, :, :3].mT @ frame[:, :, :3], torch.eye(3).double().expand(3, 3, 3))
    assert (frame[:, 1, :3] == torch.tensor([0.0, 0.0, -1.0])).all()
    assert ((frame[:, 2, :3] * R[:, 2]).sum(-1) > 0).all()


def test_rays_behind_and_along_the_plane_meet_nobody():
    frame = torch.eye(3, 4)[None].expand(3, 3, 4)
    points = torch.tensor([[0.1, 0.2, -2.0]]).expand(3, 3)
    d = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    _, meets = encode_plane(meet_plane(points, d, frame), torch.full((3, 1), 0.1))
    assert meets[:, 0].tolist() == [1, 0, 0]


def test_fibonacci_directions_are_spread_evenly():
    d = fibonacci_sphere(2000)
    torch.testing.assert_close(d.norm(dim=-1), torch.ones(2000, dtype=torch.float64))
    assert d.mean(0).abs().max() < 2e-3
    assert (d.T @ d / 2000 - torch.eye(3) / 3).abs().max() < 2e-3


@pytest.mark.golden
def test_integrated_sines_are_the_published_ones(published):
    octaves = int(published["ipe/max_deg"]) - int(published["ipe/min_deg"])
    mean, variance = published["ipe/mean"], published["ipe/var"]
    np.testing.assert_allclose(integrated_sines(mean, variance, octaves), published["ipe/out"], **CLOSED_FORM)
    first = integrated_sines(mean, variance, 1)[:, : mean.shape[1]]
    np.testing.assert_allclose(first, published["ipe/expected_sin"], **CLOSED_FORM)


@pytest.mark.golden
def test_positions_are_embedded_as_published(published):
    names = [key for key in published if key.startswith("embedder/") and key.endswith("/x")]
    assert names
    for name in names:
        octaves, dims = (int(name.split("_")[k].split("/")[0]) for k in (1, 3))
        encoding = CompositeEncoding(FrequencyEncoding(octaves, input_dim=dims), scale=1.0, offset=0.0)
        expected = published[name.removesuffix("/x") + "/out"]
        assert encoding.output_dim == int(published[name.removesuffix("/x") + "/out_dim"])
        np.testing.assert_allclose(encoding(published[name]), expected, **CLOSED_FORM)


@pytest.mark.golden
def test_small_maps_are_the_published_ones(published):
    pairs = {
        "offset_points_to_sphere/out": pulled_inside(published["offset_points_to_sphere/x"]),
        "srgb/linear_to_srgb": linear_to_srgb(published["srgb/linear"]),
        "exp_activation/max0": exp_radiance(published["exp_activation/x"], 0.0),
        "exp_activation/max5": exp_radiance(published["exp_activation/x"], 5.0),
    }
    for name, ours in pairs.items():
        expected = published[name].clamp(0, 1) if name.startswith("srgb") else published[name]
        np.testing.assert_allclose(ours, expected, **CLOSED_FORM, err_msg=name)
    inside = (published["srgb/linear"] >= 0) & (published["srgb/linear"] <= 1)
    np.testing.assert_allclose(
        srgb_to_linear(published["srgb/linear"])[inside],
        published["srgb/srgb_to_linear_of_same"][inside],
        **CLOSED_FORM,
    )
    unit = normalize(published["reflect/normals"], dim=-1), normalize(published["reflect/view_dirs"], dim=-1)
    np.testing.assert_allclose(reflect(unit[1], unit[0]), published["reflect/reflective"], **CLOSED_FORM)


@pytest.mark.golden
def test_the_photographers_plane_is_the_published_one(published):
    poses = published["camera_plane/poses"]
    frames = photographer_frame(poses)
    np.testing.assert_allclose(frames, published["camera_plane/human_poses"], **CLOSED_FORM)
    fixed = photographer_frame(poses, fixed_camera=True)
    np.testing.assert_allclose(fixed, published["camera_plane/human_poses_fixed_camera"], **CLOSED_FORM)
    of_ray = frames[published["camera_plane/pose_index"]]
    hit = meet_plane(published["camera_plane/pts"], published["camera_plane/dirs"], of_ray)
    assert (hit.crosses == published["camera_plane/hits"]).all()
    np.testing.assert_allclose(hit.distance, published["camera_plane/dist"], atol=1e-6, rtol=1e-4)
    far = published["camera_plane/dist"].abs()[:, None]
    off = (hit.point - published["camera_plane/inter"]).abs() / (1 + far)
    assert off.max() < 1e-5


@pytest.mark.golden
def test_fibonacci_directions_are_the_published_ones(published):
    ours = fibonacci_sphere(int(published["sample_sphere/n"]), upper_half=True)
    np.testing.assert_allclose(ours, published["sample_sphere/points"], atol=2e-6, rtol=1e-5)
    azimuth, elevation = azimuth_elevation(ours)
    np.testing.assert_allclose(elevation, published["sample_sphere/elevation"], atol=2e-6)
    turn = (azimuth - published["sample_sphere/azimuth"] + math.pi) % (2 * math.pi) - math.pi
    assert turn.abs().max() < 2e-5


@pytest.mark.golden
def test_near_and_far_are_the_published_ones(golden):
    data = np.load(golden / "nero_losses.npz")
    near, far = near_far(*(torch.from_numpy(data[f"near_far/{key}"]) for key in ("rays_o", "rays_d_unnormalised")))
    np.testing.assert_allclose(near[:, None], data["near_far/near"], **CLOSED_FORM)
    np.testing.assert_allclose(far[:, None], data["near_far/far"], **CLOSED_FORM)
