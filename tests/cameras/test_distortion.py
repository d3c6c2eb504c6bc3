"""Lens models are OpenCV's, can be undone where they can be undone, and say where not."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.cameras import distortion

from .cameras_at_hand import BARREL, FISHEYE, NONE, PHONE, RATIONAL

opencv_lenses = st.sampled_from([NONE, PHONE, RATIONAL, BARREL, [-0.5, 0.3, -0.1, 0, 0, 0, 0.01, -0.01]])


def discs(seed: int, radius: float, count: int = 200) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(count, generator=g, dtype=torch.float64)
    r = radius * torch.rand(count, generator=g, dtype=torch.float64).sqrt()
    return torch.stack((r * angle.cos(), r * angle.sin()), dim=-1)


@given(opencv_lenses, st.integers(0, 2**31))
def test_undistort_inverts_distort_inside_the_fold(lens, seed):
    k = torch.tensor([lens], dtype=torch.float64)
    fold = distortion.fold_radius(k)
    xy = discs(seed, min(0.9 * float(fold), 1.5))
    back, ok = distortion.undistort(distortion.distort(xy, k), k.expand(200, 8), fold.expand(200))
    assert ok.all()
    torch.testing.assert_close(back, xy, atol=1e-10, rtol=0)


@given(st.lists(st.floats(-0.5, 0.5), min_size=6, max_size=6), st.integers(0, 2**31))
def test_whatever_the_lens_an_answer_called_true_is_one(radial, seed):
    k = torch.tensor([[*radial, 0.0, 0.0]], dtype=torch.float64)
    fold = distortion.fold_radius(k)
    target = discs(seed, 2.0)
    found, ok = distortion.undistort(target, k.expand(200, 8), fold.expand(200))
    assert found.isfinite().all()
    torch.testing.assert_close(distortion.distort(found[ok], k), target[ok], atol=3e-10, rtol=0)
    assert (found[ok].norm(dim=-1) <= fold).all()
    reach = distortion.distort(torch.tensor([[0.999 * min(float(fold), 1e3), 0.0]]).double(), k)[0, 0]
    assert ok[target.norm(dim=-1) < reach].all()  # nothing inside the lens's image is given up


def test_distortion_is_the_one_opencv_documents():
    x, y = 0.3, -0.2
    k1, k2, k3, k4, k5, k6, p1, p2 = RATIONAL
    r2 = x * x + y * y
    q = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    expected = (
        x * q + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * q + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )
    found = distortion.distort(
        torch.tensor([[x, y]], dtype=torch.float64), torch.tensor([RATIONAL], dtype=torch.float64)
    )
    assert found[0].tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("lens", "fold"),
    [
        (NONE, math.inf),
        ([0.1, 0.0, 0, 0, 0, 0, 0, 0], math.inf),
        ([-0.3, 0.0, 0, 0, 0, 0, 0, 0], math.sqrt(1 / 0.9)),  # d/dr (r − 0.3 r³) = 0
        ([0.0, 0.0, 0, -0.25, 0, 0, 0, 0], 2.0),  # r / (1 − r²/4) has a pole
    ],
)
def test_fold_is_where_the_radius_stops_growing(lens, fold):
    assert float(distortion.fold_radius(torch.tensor([lens], dtype=torch.float64))[0]) == pytest.approx(fold)


@given(st.sampled_from([NONE, FISHEYE, [-0.1, 0.02, 0, 0]]), st.integers(0, 2**31))
def test_fisheye_inverse_returns_the_direction(lens, seed):
    k = torch.tensor([lens[:4]], dtype=torch.float64)
    fold = distortion.fisheye_fold_angle(k)
    directions = torch.randn(300, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    directions = torch.cat((directions, torch.tensor([[0.0, 0.0, 2.0]]).double()))
    angle = torch.atan2(directions[:, :2].norm(dim=-1), directions[:, 2])
    directions = directions[angle < 0.95 * fold]
    found, ok = distortion.fisheye_undistort(
        distortion.fisheye_distort(directions, k), k.expand(len(directions), 4), fold.expand(len(directions))
    )
    assert ok.all()
    torch.testing.assert_close(found, directions / directions.norm(dim=-1, keepdim=True), atol=1e-9, rtol=0)


def test_fisheye_without_coefficients_is_equidistant():
    angles = torch.tensor([0.0, 0.5, math.pi / 2, 2.5], dtype=torch.float64)
    directions = torch.stack((angles.sin(), 0 * angles, angles.cos()), dim=-1)
    xy = distortion.fisheye_distort(directions, torch.zeros(1, 4, dtype=torch.float64))
    torch.testing.assert_close(xy, torch.stack((angles, 0 * angles), dim=-1))


def test_fisheye_points_past_its_edge_are_told():
    k = torch.tensor([[-0.1, 0.0, 0.0, 0.0]], dtype=torch.float64)
    fold = distortion.fisheye_fold_angle(k)
    assert float(fold) == pytest.approx(math.sqrt(1 / 0.3))
    edge = float(fold) * (1 - 0.1 * float(fold) ** 2)
    xy = torch.tensor([[edge - 1e-3, 0.0], [edge + 1e-3, 0.0]], dtype=torch.float64)
    found, ok = distortion.fisheye_undistort(xy, k.expand(2, 4), fold.expand(2))
    assert ok.tolist() == [True, False]
    assert found.isfinite().all()


@given(opencv_lenses)
def test_distortion_has_the_jacobian_that_newton_uses(lens):
    k = torch.tensor(lens, dtype=torch.float64)
    xy = torch.tensor([0.2, -0.4], dtype=torch.float64)
    _, (xx, cross, yy) = distortion._rational(xy, k)
    expected = torch.autograd.functional.jacobian(lambda p: distortion.distort(p, k), xy)
    torch.testing.assert_close(torch.stack((xx, cross, cross, yy)).reshape(2, 2), expected, atol=1e-14, rtol=0)
