"""Numbers of one mesh against another."""

import math

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.geometry.mesh import TriMesh
from rilievo.io.mesh_file import read_mesh, write_mesh
from rilievo.meshing import extract_surface
from rilievo.metrics.cameras import compare_cameras
from rilievo.metrics.mesh import compare_meshes
from rilievo.metrics.reference import SampledSurface, read_reference
from rilievo.metrics.sampling import sample_surface

ONE = torch.ones(3, dtype=torch.float64)
FEW = 20_000


def ball(radius, resolution=100):
    return extract_surface(lambda p: p.norm(dim=-1) - radius, -ONE, ONE, resolution, refine=2)


def cube(turned_by=0.0):
    corners = np.array([(x, y, z) for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    c, s = math.cos(turned_by), math.sin(turned_by)
    return TriMesh(corners @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T, faces)


def square(z=0.0, flipped=False):
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    corners = np.array([[0.0, 0, z], [1, 0, z], [1, 1, z], [0, 1, z]])
    return TriMesh(corners, faces[:, ::-1].copy() if flipped else faces)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_chamfer_of_concentric_spheres_is_the_difference_of_their_radii():
    found = compare_meshes(ball(0.78), ball(0.8), samples=FEW)
    for value in (found.accuracy_percent, found.completeness_percent, found.chamfer_percent):
        assert value == pytest.approx(100 * 0.02 / 0.8, rel=0.01)
    assert found.radius == pytest.approx(0.8, rel=1e-3)
    assert found.f_score_half_percent == found.f_score_one_percent == 0
    assert found.closed
    assert (found.boundaries, found.components) == (0, 1)
    assert found.area == pytest.approx(4 * math.pi * 0.78**2, rel=0.01)
    assert found.area_ratio == pytest.approx((0.78 / 0.8) ** 2, rel=0.01)


def test_a_mesh_agrees_with_itself_to_rounding():
    mesh = ball(0.7, 60)
    found = compare_meshes(mesh, mesh, samples=FEW)
    assert found.chamfer_percent < 1e-5
    assert found.normal_error_deg < 1e-3
    assert found.f_score_half_percent == 1


def test_numbers_do_not_depend_on_the_unit_or_the_frame():
    a, b = ball(0.7, 40), ball(0.66, 30)
    similarity = np.diag([3.0, 3.0, 3.0, 1.0])
    similarity[:3, :3] = similarity[:3, :3] @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    similarity[:3, 3] = [5.0, -2.0, 1.0]
    here = compare_meshes(a, b, samples=FEW)
    there = compare_meshes(a.transformed(similarity), b.transformed(similarity), samples=FEW)
    assert there.chamfer_percent == pytest.approx(here.chamfer_percent, rel=1e-6)
    assert there.normal_error_deg == pytest.approx(
        here.normal_error_deg, rel=0.01
    )  # ties on shared edges fall otherwise
    assert there.radius == pytest.approx(3 * here.radius)


def test_normals_of_a_tilted_sheet_err_by_the_tilt():
    tilt = np.eye(4)
    c, s = math.cos(0.1), math.sin(0.1)
    tilt[:3, :3] = 0.5 * np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    tilt[:3, 3] = [0.2, 0.2, 0.1]
    found = compare_meshes(square().transformed(tilt), square(), samples=FEW)
    assert found.normal_accuracy_deg == pytest.approx(math.degrees(0.1))


def test_a_quarter_turn_takes_a_cube_to_itself_and_an_eighth_does_not():
    quarter, eighth = (compare_meshes(cube(turn * math.pi / 4), cube(), samples=FEW) for turn in (2, 1))
    assert quarter.chamfer_percent < 1e-9
    assert quarter.normal_error_deg < 1e-6
    assert eighth.chamfer_percent > 1
    assert eighth.normal_error_deg == pytest.approx(45 * 4 / 6, rel=0.2)


def test_distance_between_parallel_squares_is_their_distance_each_way():
    found = compare_meshes(square(0.1), square(), samples=FEW)
    assert found.chamfer_percent == pytest.approx(100 * 0.1 / math.sqrt(0.5))
    assert found.normal_error_deg == 0
    assert not found.closed


def test_an_open_sheet_has_no_wrong_side_unless_asked():
    assert compare_meshes(square(flipped=True), square(), samples=FEW).normal_error_deg == 0
    strict = compare_meshes(square(flipped=True), square(), samples=FEW, oriented=True)
    assert strict.normal_error_deg == pytest.approx(180)


def test_what_is_missing_shows_in_completeness_and_what_is_too_much_in_accuracy():
    half = TriMesh(square().vertices * [0.5, 1, 1], square().faces)
    less, more = compare_meshes(half, square(), samples=FEW), compare_meshes(square(), half, samples=FEW)
    assert less.accuracy_percent < 1e-9
    assert less.completeness_percent == pytest.approx(100 * 0.125 / math.sqrt(0.5), rel=0.03)
    assert more.completeness_percent < 1e-9
    assert more.accuracy_percent > 10


def test_samples_are_uniform_by_area_and_lie_on_the_surface():
    corners = np.array([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 5], [1, 0, 5], [0, 1, 5]])
    mesh = TriMesh(corners, np.arange(6).reshape(2, 3))
    found = sample_surface(mesh, 40_000, generator())
    lower = found.points[:, 2] < 2.5
    assert lower.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(found.points[lower].mean(axis=0), [1, 1 / 3, 0], atol=0.02)  # the centroid
    np.testing.assert_allclose(found.points[lower].std(axis=0)[:2], [3 / math.sqrt(18), 1 / math.sqrt(18)], rtol=0.02)
    np.testing.assert_allclose(found.normals, np.tile([0.0, 0, 1], (40_000, 1)))


def test_vertex_normals_are_interpolated_where_the_mesh_has_them():
    mesh = extract_surface(lambda p: p.norm(dim=-1) - 0.7, -ONE, ONE, 20, gradient=lambda p: p)
    found = sample_surface(mesh, 1000, generator())
    true = found.points / np.linalg.norm(found.points, axis=1, keepdims=True)
    error = np.degrees(np.arccos((found.normals * true).sum(axis=1).clip(max=1)))
    assert error.max() < 0.6  # the faces themselves err by up to 5 degrees


def test_points_with_normals_stand_for_the_surface_they_were_taken_from(tmp_path):
    truth, mesh = ball(0.8, 60), ball(0.79, 60)
    taken = sample_surface(truth, 50_000, generator(3))
    np.savez(tmp_path / "points.npz", points=taken.points.astype(np.float32), normals=taken.normals.astype(np.float16))
    sampled = compare_meshes(mesh, read_reference(tmp_path / "points.npz"), samples=FEW)
    assert math.isnan(sampled.area_ratio)  # points have no area
    exact = compare_meshes(mesh, truth, samples=FEW)
    assert sampled.chamfer_percent == pytest.approx(exact.chamfer_percent, rel=0.02)
    assert sampled.normal_error_deg == pytest.approx(exact.normal_error_deg, abs=1.0)


def test_points_do_not_stand_for_surface_where_there_is_none():
    taken = sample_surface(square(), 20_000, generator())
    left = SampledSurface(taken.points[taken.points[:, 0] < 0.5], taken.normals[taken.points[:, 0] < 0.5])
    found = compare_meshes(square(), left, samples=FEW)
    assert found.accuracy_percent * left.radius / 100 == pytest.approx(0.125, rel=0.03)


def test_mesh_beside_the_points_is_what_distances_are_measured_to(tmp_path):
    write_mesh(tmp_path / "mesh.ply", square())
    np.savez(tmp_path / "points.npz", points=np.eye(3) * [0.5, 0.5, 0.0], normals=np.tile([0.0, 0, 1], (3, 1)))
    found = compare_meshes(square(), tmp_path / "points.npz", samples=1000)
    assert found.accuracy_percent == found.completeness_percent == 0


def test_broken_references_and_empty_meshes_are_told_apart(tmp_path):
    (tmp_path / "points.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="points and normals"):
        read_reference(tmp_path / "points.npz")
    np.savez(tmp_path / "other.npz", xyz=np.zeros(3))
    with pytest.raises(UserError, match="points and normals"):
        read_reference(tmp_path / "other.npz")
    with pytest.raises(UserError, match="at least one face"):
        compare_meshes(TriMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)), square())
    with pytest.raises(UserError, match="some extent"):
        compare_meshes(square(), SampledSurface(np.zeros((4, 3)), np.zeros((4, 3))), samples=10)


def test_true_mesh_of_a_capture_is_found_to_be_true(shared):
    folder = shared / "scenes" / "bunny"
    found = compare_meshes(read_mesh(folder / "mesh.ply"), folder / "points.npz")
    assert found.chamfer_percent < 0.01
    assert found.normal_error_deg < 1
    assert found.closed


def test_cameras_that_differ_by_a_similarity_agree():
    poses = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    poses[:, :3, 3] = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    moved = poses.clone()
    moved[:, :3, 3] = 2 * moved[:, :3, 3] + 1
    found = compare_cameras(moved, poses)
    assert set(found) == {"rotation_deg", "center_percent", "rotation_deg_max", "center_percent_max"}
    assert max(found.values()) < 1e-6
    moved[0, 0, 3] += 1
    assert compare_cameras(moved, poses)["center_percent_max"] > 1
