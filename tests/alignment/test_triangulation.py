"""Points from their pixels in several photos."""

import pytest
import torch

from rilievo.alignment.triangulation import triangulate
from rilievo.geometry import se3


def cameras(count, seed=0):
    """Projections of cameras some 5 units in front of the origin, in two scenes."""
    g = torch.Generator().manual_seed(seed)
    cam_from_world = se3.exp(0.4 * torch.randn(2, count, 6, generator=g, dtype=torch.float64))
    cam_from_world[..., 2, 3] += 5
    K = torch.tensor([[70.0, 0, 32], [0, 70, 24], [0, 0, 1]], dtype=torch.float64)
    return K @ cam_from_world[..., :3, :]


def images(projections, points):
    homogeneous = torch.cat((points, torch.ones_like(points[..., :1])), dim=-1)
    seen = homogeneous[:, None] @ projections.mT
    return seen[..., :2] / seen[..., 2:]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_exact_pixels_give_the_exact_point(count):
    points = torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = triangulate(images(cameras(count), points), cameras(count))
    torch.testing.assert_close(found, points, rtol=0, atol=1e-9)


def test_moving_the_world_moves_the_points_with_it():
    points = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    P = cameras(4)
    pixels = images(P, points) + 0.1 * torch.randn(2, 4, 5, 2, generator=torch.Generator().manual_seed(3))
    shift = torch.eye(4, dtype=torch.float64)
    shift[:3, 3] = torch.tensor([3.0, -1.0, 0.5])
    moved = triangulate(pixels, P @ torch.linalg.inv(shift))
    torch.testing.assert_close(moved, triangulate(pixels, P) + shift[:3, 3], rtol=0, atol=1e-9)


def test_one_camera_or_twice_the_same_tells_no_depth():
    points = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    one = cameras(1)
    for P in (one, one.repeat(1, 2, 1, 1)):
        assert triangulate(images(P, points), P).isnan().all()


@pytest.mark.golden
def test_triangulated_points_are_the_published_ones(arrays):
    data = {k.split("/")[1]: torch.from_numpy(v) for k, v in arrays("small_functions.npz").items() if k[:4] == "tria"}
    found = triangulate(data["pts2d_BCNx2"], data["proj_BC34"])
    torch.testing.assert_close(found, data["out_BN3"], rtol=1e-4, atol=1e-5)
