"""A new photo finds its place in a scene whose points are known."""

import pytest
import torch

from rilievo.alignment.localization import lift_matches, localize
from rilievo.errors import UserError
from rilievo.geometry import se3, so3
from rilievo.matching.pair_result import Correspondences

WIDTH, HEIGHT, FOCAL = 640, 480, 700.0


def photo_of_points(n: int, seed: int = 0, focal: float = FOCAL):
    """A camera, world points that it sees, and their pixels."""
    g = torch.Generator().manual_seed(seed)
    pixels = torch.rand(n, 2, generator=g, dtype=torch.float64) * torch.tensor([WIDTH, HEIGHT])
    depth = 2 + 4 * torch.rand(n, 1, generator=g, dtype=torch.float64)
    rays = (pixels - torch.tensor([WIDTH / 2, HEIGHT / 2])) / focal
    x = torch.cat((rays, torch.ones(n, 1)), -1) * depth
    omega, t = torch.randn(2, 3, generator=g, dtype=torch.float64)
    pose = se3.compose(so3.exp(omega), t)
    return pose, x @ pose[:3, :3].mT + pose[:3, 3], pixels


def errors(found: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    return float(torch.rad2deg(so3.angle(found[:3, :3], true[:3, :3]))), float((found[:3, 3] - true[:3, 3]).norm())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("focal", [None, FOCAL])
def test_exact_matches_give_the_exact_camera(seed, focal):
    pose, points, pixels = photo_of_points(60, seed)
    found = localize(points, pixels, (WIDTH, HEIGHT), focal_px=focal)
    assert max(errors(found.world_from_cam, pose)) < 1e-5
    assert float(found.K[0, 0]) == pytest.approx(FOCAL, rel=1e-6)
    assert found.inlier_count == 60
    assert found.error_px < 1e-4


@pytest.mark.parametrize("focal", [None, FOCAL])
def test_half_of_the_matches_may_be_wrong(focal):
    pose, points, pixels = photo_of_points(200)
    g = torch.Generator().manual_seed(1)
    pixels = pixels + 0.3 * torch.randn(200, 2, generator=g, dtype=torch.float64)
    wrong = torch.arange(200) % 2 == 1
    pixels[wrong] = torch.rand(100, 2, generator=g, dtype=torch.float64) * torch.tensor([WIDTH, HEIGHT])
    found = localize(points, pixels, (WIDTH, HEIGHT), focal_px=focal)
    assert found.inliers[~wrong].all()
    assert found.inliers[wrong].sum() <= 3  # random pixels that happen to be near
    turn, move = errors(found.world_from_cam, pose)
    assert turn < 4 * found.rotation_std_deg < 1
    assert move < 4 * found.center_std < 0.1
    assert abs(float(found.K[0, 0]) - FOCAL) <= 4 * found.focal_std_px + 1e-9


def test_a_known_focal_length_makes_the_place_surer():
    _, points, pixels = photo_of_points(80)
    noisy = pixels + 0.5 * torch.randn(80, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    free = localize(points, noisy, (WIDTH, HEIGHT))
    known = localize(points, noisy, (WIDTH, HEIGHT), focal_px=FOCAL)
    assert known.focal_std_px == 0
    assert known.center_std < free.center_std


def test_moving_the_scene_moves_the_camera_with_it():
    pose, points, pixels = photo_of_points(50)
    motion = se3.exp(torch.tensor([1.0, -2.0, 0.5, 0.3, 0.4, -0.2], dtype=torch.float64))
    moved = localize(points @ motion[:3, :3].mT + motion[:3, 3], pixels, (WIDTH, HEIGHT), focal_px=FOCAL)
    assert max(errors(moved.world_from_cam, motion @ pose)) < 1e-5


def test_wide_and_long_lenses_are_found():
    for focal in (0.55 * WIDTH, 2.5 * WIDTH):
        _, points, pixels = photo_of_points(120, focal=focal)
        assert float(localize(points, pixels, (WIDTH, HEIGHT)).K[0, 0]) == pytest.approx(focal, rel=1e-4)


def test_unrelated_matches_are_refused():
    _, points, _ = photo_of_points(60)
    pixels = torch.rand(60, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * WIDTH
    with pytest.raises(UserError, match=r"localisation: expected at least 12 matches that agree .* got \d+ of 60"):
        localize(points, pixels, (WIDTH, HEIGHT), focal_px=FOCAL)


@pytest.mark.parametrize("n", [0, 3, 11])
def test_too_few_matches_are_refused(n):
    _, points, pixels = photo_of_points(n)
    with pytest.raises(UserError, match="localisation: expected at least 12 matches"):
        localize(points, pixels, (WIDTH, HEIGHT), focal_px=FOCAL)


def test_matches_are_lifted_to_the_points_of_their_pixels():
    h, w = 5, 7
    points = torch.arange(h * w * 3, dtype=torch.float32).reshape(h, w, 3)
    points[2, 3] = torch.nan
    valid = torch.ones(h, w, dtype=torch.bool)
    valid[0, 0] = False
    xy_i = torch.tensor([[0.0, 0.0], [3.0, 2.0], [6.0, 4.0], [1.2, 2.9], [7.0, 1.0]])
    xy_j = torch.arange(10.0).reshape(5, 2)
    lifted, pixels = lift_matches(Correspondences(xy_i, xy_j, torch.ones(5)), points, valid)
    assert torch.equal(lifted, torch.stack((points[4, 6], points[3, 1])))
    assert torch.equal(pixels, xy_j[2:4] + 0.5)
    everything, _ = lift_matches(Correspondences(xy_i, xy_j, torch.ones(5)), points)
    assert len(everything) == 3
