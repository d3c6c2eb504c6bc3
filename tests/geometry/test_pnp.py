"""Poses from points and their pixels."""

import pytest
import torch

from rilievo.geometry import se3, so3
from rilievo.geometry.pnp import candidate_focals_px, pinhole, solve_pnp
from rilievo.geometry.resection import reprojection_errors, resect

CENTER = torch.tensor([31.0, 25.0], dtype=torch.float64)
FOCAL = 60.0


def camera_and_points(n: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 3, generator=g, dtype=torch.float64) * torch.tensor([2.0, 1.6, 3.0]) + torch.tensor([-1, -0.8, 3])
    pixels = FOCAL * x[:, :2] / x[:, 2:] + CENTER
    omega, t = torch.randn(2, 3, generator=g, dtype=torch.float64)
    pose = se3.compose(so3.exp(omega), t)
    return pose, x @ pose[:3, :3].mT + pose[:3, 3], pixels


def distance(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float]:
    return float(so3.angle(a[:3, :3], b[:3, :3])), float((a[:3, 3] - b[:3, 3]).norm())


@pytest.mark.parametrize("seed", range(3))
def test_exact_points_give_the_exact_pose(seed):
    pose, points, pixels = camera_and_points(40, seed)
    found = solve_pnp(points, pixels, FOCAL, CENTER)
    assert max(distance(found.world_from_cam, pose)) < 1e-5
    assert found.inliers.all()


def test_a_third_of_wrong_points_is_told_apart():
    pose, points, pixels = camera_and_points(90)
    pixels[::3] += torch.tensor([25.0, -19.0])
    found = solve_pnp(points, pixels, FOCAL, CENTER, iterations=300)
    assert max(distance(found.world_from_cam, pose)) < 1e-5
    assert found.inliers.tolist() == [i % 3 > 0 for i in range(90)]


def test_of_several_focal_lengths_the_right_one_gets_most_agreement():
    _, points, pixels = camera_and_points(60)
    found = solve_pnp(points, pixels, [40.0, 50.0, FOCAL, 75.0, 95.0], CENTER, threshold_px=0.5, iterations=300)
    assert found.focal_px == FOCAL


def test_three_points_are_too_few():
    _, points, pixels = camera_and_points(3)
    assert solve_pnp(points, pixels, FOCAL, CENTER) is None


def test_candidate_focals_span_half_to_three_times_the_longer_side():
    focals = candidate_focals_px(640, 480)
    assert focals[0] == pytest.approx(320)
    assert focals[-1] == pytest.approx(1920)


def test_a_pinhole_has_square_pixels():
    K = pinhole(FOCAL, CENTER)
    assert K.tolist() == [[60.0, 0.0, 31.0], [0.0, 60.0, 25.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("solve_focal", [False, True])
def test_resection_ends_at_the_exact_camera(solve_focal):
    pose, points, pixels = camera_and_points(30)
    nudge = se3.exp(torch.tensor([0.05, -0.04, 0.1, 0.02, 0.03, -0.02], dtype=torch.float64))
    found = resect(points, pixels, pose @ nudge, FOCAL * (1.05 if solve_focal else 1), CENTER, solve_focal=solve_focal)
    assert max(distance(found.world_from_cam, pose)) < 1e-8
    assert found.focal_px == pytest.approx(FOCAL, rel=1e-8)


def test_errors_of_resection_follow_its_covariance():
    pose, points, pixels = camera_and_points(60)
    g = torch.Generator().manual_seed(1)
    centers, turns, focals, told = [], [], [], []
    for _ in range(60):
        noisy = pixels + 0.2 * torch.randn(pixels.shape, generator=g, dtype=torch.float64)
        found = resect(points, noisy, pose, FOCAL, CENTER, solve_focal=True)
        turn, move = distance(found.world_from_cam, pose)
        centers.append(move**2)
        turns.append(turn**2)
        focals.append((found.focal_px - FOCAL) ** 2)
        told.append([found.center_std**2, found.rotation_std**2, found.focal_std_px**2])
    told = torch.tensor(told).mean(0)
    seen = torch.tensor([centers, turns, focals]).mean(1)
    assert (seen / told > 0.6).all()  # 60 draws of chi-square with a few degrees of freedom: +-25 %
    assert (seen / told < 1.6).all()


def test_points_on_a_line_determine_no_camera():
    pose, points, _ = camera_and_points(20)
    a, b = points[:1], points[1:2]
    line = a + torch.linspace(0, 1, 20, dtype=torch.float64)[:, None] * (b - a)
    cam = se3.inverse(pose)
    x = line @ cam[:3, :3].mT + cam[:3, 3]
    assert resect(line, FOCAL * x[:, :2] / x[:, 2:] + CENTER, pose, FOCAL, CENTER) is None


def test_a_point_behind_the_camera_is_infinitely_off():
    pose, points, pixels = camera_and_points(4)
    behind = pose[:3, 3] - pose[:3, 2]
    points[1] = behind
    errors = reprojection_errors(points, pixels, pose, FOCAL, CENTER)
    assert errors.isinf().tolist() == [False, True, False, False]
    assert errors[[0, 2, 3]].max() < 1e-9
