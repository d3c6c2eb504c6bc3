"""Rotations are a group, and their exponential can be undone from the identity to half a turn."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.geometry import so3

seeds = st.integers(0, 2**31)
angles = st.sampled_from([0.0, 1e-12, 1e-8, 1e-4, 1.0, 3.0, math.pi - 1e-4, math.pi - 1e-7])


def turn(seed: int, angle: float) -> torch.Tensor:
    axis = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return angle * axis / axis.norm()


@given(seeds, angles)
def test_log_inverts_exp_from_the_identity_to_half_a_turn(seed, angle):
    omega = turn(seed, angle)
    torch.testing.assert_close(so3.log(so3.exp(omega)), omega, atol=1e-14, rtol=1e-9)


@given(seeds)
def test_half_a_turn_is_its_own_inverse(seed):
    R = so3.exp(turn(seed, math.pi))
    torch.testing.assert_close(so3.exp(so3.log(R)), R, atol=1e-13, rtol=0)
    torch.testing.assert_close(R @ R, torch.eye(3, dtype=R.dtype), atol=1e-14, rtol=0)


@given(seeds, angles)
def test_exp_is_the_matrix_exponential(seed, angle):
    omega = turn(seed, angle)
    torch.testing.assert_close(so3.exp(omega), torch.linalg.matrix_exp(so3.hat(omega)), atol=1e-14, rtol=0)


@given(seeds, angles)
def test_quaternion_and_matrix_say_the_same(seed, angle):
    R = so3.exp(turn(seed, angle))
    q = so3.quaternion_from_matrix(R)
    assert q[0] >= 0
    torch.testing.assert_close(q.norm(), torch.ones((), dtype=q.dtype))
    torch.testing.assert_close(so3.matrix_from_quaternion(-3 * q), R, atol=1e-14, rtol=0)


def test_quaternion_of_a_quarter_turn_about_z_has_w_first():
    R = so3.exp(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    half = math.sqrt(0.5)
    torch.testing.assert_close(so3.quaternion_from_matrix(R), torch.tensor([half, 0, 0, half], dtype=torch.float64))
    assert R[1, 0] > 0  # x turns into y


@given(seeds, angles)
def test_angle_between_rotations_is_the_angle_of_what_separates_them(seed, angle):
    A = so3.exp(turn(seed + 1, 2.0))
    measured = so3.angle(A, A @ so3.exp(turn(seed, angle)))
    assert abs(measured - angle) < 1e-8 * angle + 1e-14 or abs(measured - angle) < 1e-15


@given(seeds)
def test_no_rotation_is_nearer_than_the_nearest(seed):
    g = torch.Generator().manual_seed(seed)
    M = torch.randn(3, 3, generator=g, dtype=torch.float64)
    R = so3.nearest(M)
    torch.testing.assert_close(R.mT @ R, torch.eye(3, dtype=R.dtype), atol=1e-13, rtol=0)
    assert torch.linalg.det(R) > 0
    others = R @ so3.exp(0.1 * torch.randn(50, 3, generator=g, dtype=torch.float64))
    assert ((others - M).norm(dim=(1, 2)) >= (R - M).norm() - 1e-12).all()


def test_mean_of_turns_to_both_sides_is_the_middle():
    omega = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    middle = so3.exp(torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64))
    R = middle @ so3.exp(torch.stack((omega, -omega, 0 * omega)))
    torch.testing.assert_close(so3.mean(R), middle, atol=1e-14, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1.0])
def test_exp_has_finite_gradient_everywhere(angle):
    omega = turn(0, angle).requires_grad_()
    (so3.exp(omega) * torch.arange(9.0).reshape(3, 3)).sum().backward()
    assert omega.grad.isfinite().all()
    assert omega.grad.norm() > 0
