"""What a mesh says of itself agrees with solid geometry."""

import math

import numpy as np
import pytest
import torch
import trimesh

from rilievo.geometry import sim3
from rilievo.geometry.mesh import TriMesh


def sphere(radius: float = 1.0, center: tuple[float, float, float] = (0, 0, 0)) -> TriMesh:
    made = trimesh.creation.icosphere(4, radius)
    vertices = np.array(made.vertices)
    colors = np.zeros(vertices.shape, dtype=np.uint8)
    return TriMesh(vertices + center, np.array(made.faces), normals=vertices / radius, colors=colors)


def joined(*parts: TriMesh) -> TriMesh:
    starts = np.cumsum([0, *(len(p.vertices) for p in parts)])
    return TriMesh(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + start for p, start in zip(parts, starts[:-1], strict=True)]),
    )


def random_similarity() -> np.ndarray:
    tangent = torch.randn(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return sim3.exp(tangent).numpy()


def test_area_and_volume_of_a_sphere_come_from_below():
    mesh = sphere(2.0)
    assert 0.99 * 16 * math.pi < mesh.area < 16 * math.pi
    assert 0.99 * 32 / 3 * math.pi < mesh.volume < 32 / 3 * math.pi
    center, radius = mesh.bounding_ball
    assert radius == pytest.approx(2.0)
    np.testing.assert_allclose(center, 0, atol=1e-12)


def test_normals_of_a_sphere_point_away_from_its_centre():
    mesh = sphere()
    middles = mesh.corners.mean(1)
    assert ((mesh.face_normals * middles).sum(1) > 0.99).all()
    assert ((mesh.vertex_normals * mesh.vertices).sum(1) > 0.999).all()


def test_areas_grow_with_the_square_of_scale_and_normals_turn_along():
    mesh, S = sphere(), random_similarity()
    moved = mesh.transformed(S)
    scale = np.cbrt(np.linalg.det(S[:3, :3]))
    assert moved.area == pytest.approx(mesh.area * scale**2)
    assert moved.volume == pytest.approx(mesh.volume * scale**3)
    assert ((moved.normals * moved.vertex_normals).sum(1) > 0.999).all()
    np.testing.assert_allclose(moved.transformed(np.linalg.inv(S)).vertices, mesh.vertices, atol=1e-12)


def test_a_sphere_is_closed_until_it_loses_a_face_or_one_turns_over():
    mesh = sphere()
    assert mesh.is_closed()
    assert mesh.boundary_loops() == 0
    keep = np.ones(len(mesh.faces), dtype=bool)
    keep[7] = False
    assert not mesh.with_faces(keep).is_closed()
    assert mesh.with_faces(keep).boundary_loops() == 1
    faces = mesh.faces.copy()
    faces[7] = faces[7, ::-1]
    assert not TriMesh(mesh.vertices, faces).is_closed()
    assert not mesh.with_faces(~keep & False).is_closed()


def test_a_tube_has_two_boundary_loops_and_two_tubes_have_four():
    tube = sphere()
    tube = tube.with_faces((np.abs(tube.corners[..., 2]) < 0.8).all(1))
    assert tube.boundary_loops() == 2
    assert joined(tube, tube).boundary_loops() == 4


def test_two_holes_that_share_a_vertex_are_two():
    grid = np.arange(25).reshape(5, 5)
    a, b, c, d = (q.ravel() for q in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    faces = np.concatenate((np.stack((a, b, c), -1), np.stack((a, c, d), -1)))
    x, y = np.divmod(np.arange(25.0), 5)
    keep = np.ones(32, dtype=bool)
    keep[[5, 21, 10, 26]] = False  # the inner cells (1, 1) and (2, 2), which touch at one corner
    sheet = TriMesh(np.stack((x, y, 0 * x), -1), faces).with_faces(keep)
    assert sheet.boundary_loops() == 3


def test_small_pieces_go_and_large_ones_stay():
    mesh = joined(sphere(1.0), sphere(0.05, (3, 0, 0)), sphere(0.9, (0, 5, 0)))
    count, of_face = mesh.components()
    assert count == 3
    assert len(np.unique(of_face)) == 3
    cleaned = mesh.without_small_components(0.1)
    assert cleaned.components()[0] == 2
    assert cleaned.is_closed()
    assert cleaned.area == pytest.approx(sphere(1.0).area + sphere(0.9).area)
    assert len(cleaned.vertices) == 2 * len(sphere().vertices)


def test_an_empty_mesh_answers_too():
    empty = TriMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    assert empty.area == 0
    assert not empty.is_closed()
    assert empty.boundary_loops() == 0
    assert empty.components()[0] == 0
    assert len(empty.without_small_components(0.5).faces) == 0
