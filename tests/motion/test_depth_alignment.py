"""Monocular depth at the scale of the geometry, and depth from static matches."""

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.errors import UserError
from rilievo.motion.depth_alignment import POWERS, fit_depth_map, scale_to_reference, static_pixels
from rilievo.motion.triangulate import triangulated_depth


def depths(n: int = 2000, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4 + 1


@pytest.mark.parametrize(("scale", "shift", "power"), [(2.0, 0.5, 1.0), (0.7, 0.2, 1.5), (5.0, -0.5, 0.6)])
def test_the_map_that_distorted_depth_is_found_under_noise_and_a_quarter_of_outliers(scale, shift, power):
    z = depths()
    generator = torch.Generator().manual_seed(1)
    m = ((z - shift) / scale) ** (1 / power)
    z = z * (1 + 0.01 * torch.randn(len(z), generator=generator, dtype=torch.float64))
    wrong = torch.rand(len(z), generator=generator) < 0.25
    z[wrong] = z[wrong] * 1.6
    found = fit_depth_map(m, z, POWERS)
    good = ((found(m) - z) / z).abs()[~wrong]
    assert float(good.median()) < 0.012


def test_nan_zero_and_negative_estimates_stay_unknown():
    found = fit_depth_map(depths(), 2 * depths() + 1)
    aligned = found(torch.tensor([torch.nan, 0.0, -1.0, 2.0], dtype=torch.float64))
    assert (aligned[:3] == 0).all()
    assert float(aligned[3]) == pytest.approx(5, rel=1e-6)


def test_estimates_that_fall_with_depth_and_empty_frames_are_told():
    with pytest.raises(UserError, match="disparities"):
        fit_depth_map(1 / depths(), depths())
    with pytest.raises(UserError, match="at least 30"):
        fit_depth_map(torch.full((100,), torch.nan), torch.ones(100))


def test_static_matches_of_a_moving_camera_give_back_the_depth():
    K = torch.tensor([[50.0, 0, 20], [0, 50, 15], [0, 0, 1]], dtype=torch.float64).repeat(2, 1, 1)
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[1, :3, 3] = torch.tensor([0.3, 0.1, 0.05])
    cameras = Cameras.pinhole(poses, K, torch.tensor([[40, 30], [40, 30]]))
    z = depths(30 * 40, 3).view(30, 40)
    centers = cameras.pixel_centers(0).view(30, 40, 2)
    points = torch.cat(((centers - torch.tensor([20.0, 15.0])) / 50 * z[..., None], z[..., None]), dim=-1)
    flow = cameras.project(1, points.reshape(-1, 3))[0].view(30, 40, 2) - centers
    flow[10:15, 10:15] += torch.tensor([-3.0, 9.0])  # something moves there, off its epipolar lines
    found, trusted = triangulated_depth(cameras, 0, 1, flow, torch.ones(30, 40, dtype=torch.bool))
    assert not trusted[10:15, 10:15].any()
    assert trusted[20:].all()
    torch.testing.assert_close(found[trusted], z[trusted])


@pytest.mark.golden
def test_published_factors_onto_a_reference_frame(shared):
    folder = shared / "golden" / "dynamic"
    arrays = np.load(folder / "flow.npz")
    scene = folder / "mini_selfmade"
    files = sorted((scene / "flow_RAFT1").glob("*.npz"))
    static = static_pixels(torch.stack([torch.from_numpy(np.load(path)["flow"]).float() for path in files]))
    torch.testing.assert_close(static, torch.from_numpy(arrays["align/static_mask"]))
    raw = [np.load(path) for path in sorted((scene / "GeoWizardOut" / "depth_npy").glob("*.npy"))]
    aligned = torch.stack([torch.from_numpy(s * m + t) for m, (s, t) in zip(raw, arrays["align/per_frame_st"])])
    factors = scale_to_reference(aligned, int(arrays["align/reference_index"]), static)
    torch.testing.assert_close(
        factors.float(), torch.from_numpy(arrays["align/per_frame_rescale"]), atol=1e-5, rtol=1e-5
    )
