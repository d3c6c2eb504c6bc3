"""A projection matrix hides one camera, and it comes out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.cameras.projection import decompose
from rilievo.errors import UserError

from .cameras_at_hand import mixed_cameras


@pytest.mark.golden
def test_published_decomposition_is_matched(golden):
    arrays = np.load(golden / "cameras.npz")
    K, world_from_cam = decompose(torch.from_numpy(arrays["load_K_Rt_from_P/P"]))
    np.testing.assert_allclose(K.numpy(), arrays["load_K_Rt_from_P/K"][:, :3, :3], atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(world_from_cam.numpy(), arrays["load_K_Rt_from_P/c2w"], atol=1e-6, rtol=1e-5)


@given(st.integers(0, 2**31), st.sampled_from([1.0, -1.0, 1e-6, -300.0]))
def test_camera_comes_back_from_its_projection_times_any_number(seed, factor):
    cameras = mixed_cameras(seed)
    P = factor * cameras.K @ cameras.cam_from_world[:, :3]
    K, world_from_cam = decompose(P)
    torch.testing.assert_close(K, cameras.K, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(world_from_cam, cameras.world_from_cam, atol=1e-9, rtol=1e-9)


def test_a_projection_without_a_centre_is_refused():
    P = torch.zeros(2, 3, 4, dtype=torch.float64)
    P[:] = torch.eye(3, 4)
    P[1, 2] = P[1, 0]
    with pytest.raises(UserError, match="projection 1"):
        decompose(P)
