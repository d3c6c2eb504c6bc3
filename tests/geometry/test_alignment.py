"""Camera errors see errors, not the choice of a frame."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.errors import UserError
from rilievo.geometry import se3, sim3, so3
from rilievo.geometry.alignment import align_cameras, camera_errors


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seen_from(new_from_old: torch.Tensor, poses: torch.Tensor) -> torch.Tensor:
    """The poses in another frame, rotations kept orthonormal."""
    _, R, _ = sim3.split(new_from_old)
    return se3.compose(R @ poses[:, :3, :3], sim3.apply(new_from_old, poses[:, :3, 3]))


@given(st.integers(0, 2**31))
def test_another_frame_is_no_error(seed):
    ref = se3.exp(random(seed, 7, 6))
    ref_from_est = sim3.exp(random(seed + 1, 7) / 2)
    est = seen_from(sim3.inverse(ref_from_est), ref)
    torch.testing.assert_close(align_cameras(est, ref), ref_from_est, atol=1e-9, rtol=1e-9)
    errors = camera_errors(est, ref)
    assert errors.rotation_deg < 1e-6
    assert errors.center_percent < 1e-6


def test_errors_are_measured_in_degrees_and_percent_of_twice_the_largest_radius():
    around = torch.arange(4) * (math.pi / 2)
    centers = 5 * torch.stack((around.cos(), around.sin(), 0 * around), dim=-1).double()
    ref = se3.compose(torch.eye(3, dtype=torch.float64).expand(4, 3, 3), centers)
    est = ref.clone()
    turn = so3.exp(torch.tensor([[0.0, 0.0, math.radians(2.0)]], dtype=torch.float64))[0]
    est[0, :3, :3], est[2, :3, :3] = turn, turn.mT
    est[0, 2, 3] += 0.1
    est[1, 2, 3] -= 0.1
    est[2, 2, 3] += 0.1
    est[3, 2, 3] -= 0.1
    errors = camera_errors(est, ref)
    torch.testing.assert_close(errors.rotations_deg, torch.tensor([2.0, 0, 2, 0]).double(), atol=1e-9, rtol=0)
    assert errors.rotation_deg == pytest.approx(1.0)
    assert errors.center_percent == pytest.approx(100 * 0.1 / 10, rel=1e-3)


def test_noise_in_centres_cannot_turn_the_frame():
    ref = se3.exp(random(0, 10, 6))
    est = ref.clone()
    est[:, :3, 3] += random(1, 10, 3)
    torch.testing.assert_close(
        sim3.split(align_cameras(est, ref))[1], torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0
    )


def test_one_camera_aligns_with_scale_one_but_has_no_extent():
    pose = se3.exp(random(3, 1, 6))
    assert sim3.split(align_cameras(pose, pose))[0] == pytest.approx(1.0)
    with pytest.raises(UserError, match="single point"):
        camera_errors(pose, pose)
    with pytest.raises(UserError, match="at least one"):
        align_cameras(pose[:0], pose[:0])
