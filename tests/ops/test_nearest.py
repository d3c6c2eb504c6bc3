"""Nearest points of a surface."""

import math

import pytest
import torch

from rilievo.errors import UserError
from rilievo.ops.nearest import SurfaceTree, nearest_on_surface, reference


def soup(seed, faces, dtype=torch.float64):
    """Triangles that have nothing to do with each other, some of them without area, one of them a point."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(faces, 1, 3, generator=generator, dtype=dtype) + 0.3 * torch.randn(
        faces, 3, 3, generator=generator, dtype=dtype
    )
    corners[::7, 2] = corners[::7, 0] + 0.4 * (corners[::7, 1] - corners[::7, 0])
    corners[::11, 1] = corners[::11, 0]
    corners[0] = corners[0, 0]
    return corners.reshape(-1, 3), torch.arange(3 * faces).reshape(-1, 3), generator


@pytest.mark.parametrize("faces", [1, 4, 5, 37, 400])
def test_the_tree_finds_what_trying_every_face_finds(faces):
    vertices, indices, generator = soup(faces, faces)
    points = 2 * torch.randn(300, 3, generator=generator, dtype=torch.float64)
    found = nearest_on_surface(points, vertices, indices)
    distance, face, _, point = reference.nearest_on_surface(points, vertices, indices)
    torch.testing.assert_close(found.distance, distance, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.point, point, rtol=1e-6, atol=1e-6)
    assert (found.face == face).float().mean() > 0.95  # ties may fall either way


def test_distance_point_face_and_barycentric_coordinates_agree_with_each_other():
    vertices, indices, generator = soup(5, 200)
    points = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    found = nearest_on_surface(points, vertices, indices)
    from_weights = torch.einsum("nc,ncx->nx", found.barycentric, vertices[indices[found.face]])
    torch.testing.assert_close(from_weights, found.point)
    torch.testing.assert_close((found.point - points).norm(dim=-1), found.distance)
    torch.testing.assert_close(found.barycentric.sum(dim=-1), torch.ones(500, dtype=torch.float64))
    assert (found.barycentric >= -1e-15).all()


def test_points_of_the_surface_are_at_distance_zero():
    vertices, indices, generator = soup(9, 100)
    weights = torch.rand(100, 3, generator=generator, dtype=torch.float64)
    weights /= weights.sum(dim=-1, keepdim=True)
    points = torch.einsum("nc,ncx->nx", weights, vertices[indices])
    assert nearest_on_surface(points, vertices, indices).distance.max() < 1e-8


def test_distance_to_a_square_is_the_textbook_one():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    tree = SurfaceTree(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32))
    points = torch.tensor([[0.3, 0.6, 2.0], [1.5, 0.5, 0.0], [2.0, 2.0, 1.0], [0.5, -3.0, 4.0]])
    found = tree.nearest(points)
    torch.testing.assert_close(found.distance, torch.tensor([2.0, 0.5, math.sqrt(3), 5.0]))
    torch.testing.assert_close(found.point, torch.tensor([[0.3, 0.6, 0], [1, 0.5, 0], [1, 1, 0], [0.5, 0, 0]]))
    assert found.distance.dtype == torch.float32


def test_layout_and_number_of_threads_do_not_matter():
    vertices, indices, generator = soup(2, 300, torch.float32)
    points = torch.randn(3, 1000, generator=generator).T
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = nearest_on_surface(points, vertices, indices)
        torch.set_num_threads(2)
        two = nearest_on_surface(points.contiguous(), vertices.flip(0).contiguous().flip(0), indices)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one.distance, two.distance)
    assert torch.equal(one.face, two.face)


def test_no_points_give_no_answers_and_no_surface_is_refused():
    vertices, indices, _ = soup(1, 3)
    assert nearest_on_surface(torch.empty(0, 3), vertices, indices).distance.shape == (0,)
    with pytest.raises(UserError, match="at least one face"):
        SurfaceTree(vertices, indices[:0])
    with pytest.raises(UserError, match="finite"):
        SurfaceTree(vertices * float("nan"), indices)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_answers_come_back_on_the_device_of_the_points():
    vertices, indices, generator = soup(4, 50)
    points = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    here, there = (nearest_on_surface(p, vertices, indices) for p in (points, points.cuda()))
    assert there.point.device.type == "cuda"
    torch.testing.assert_close(there.point.cpu(), here.point)
