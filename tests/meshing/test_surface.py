"""Surfaces of fields: exact shapes, closedness, and as few evaluations as promised."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.meshing import density_field, extract_surface
from rilievo.meshing.marching_cubes import march_volume

CUBE = (torch.full((3,), -1.0, dtype=torch.float64), torch.full((3,), 1.0, dtype=torch.float64))


def sphere(radius, center=(0.0, 0.0, 0.0)):
    return lambda p: (p - p.new_tensor(center)).norm(dim=-1) - radius


def torus(p):
    ring = p[:, :2].norm(dim=-1) - 0.6
    return torch.stack([ring, p[:, 2]], dim=-1).norm(dim=-1) - 0.2


def two_spheres(p):
    return torch.minimum(sphere(0.2, (-0.6, 0.1, 0))(p), sphere(0.3, (0.4, 0, 0.2))(p))


def smooth_noise(seed, positive_on_the_border):
    """A trilinear lattice of random values."""
    values = torch.randn(1, 1, 7, 7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if positive_on_the_border:
        inner = torch.zeros_like(values, dtype=torch.bool)
        inner[..., 1:-1, 1:-1, 1:-1] = True
        values = torch.where(inner, values, values.abs() + 0.1)

    def field(p):
        grid = p.flip(-1).reshape(1, -1, 1, 1, 3).to(values)
        return torch.nn.functional.grid_sample(values, grid, align_corners=True).reshape(-1)

    return field


def euler_characteristic(mesh):
    a, b, c = mesh.faces.T
    edges = np.sort(np.stack([np.concatenate([a, b, c]), np.concatenate([b, c, a])], axis=1), axis=1)
    return len(mesh.vertices) - len(np.unique(edges, axis=0)) + len(mesh.faces)


def triangles(mesh):
    """Triangles by their corners' positions, each turned to begin at its smallest corner."""
    corners = mesh.vertices.round(9)[mesh.faces].tolist()
    return sorted(min((a, b, c), (b, c, a), (c, a, b)) for a, b, c in (tuple(map(tuple, t)) for t in corners))


def dense(field, resolution):
    """Marching cubes of the whole lattice: the definition."""
    axis = -1 + torch.arange(resolution + 1, dtype=torch.float64) * (2 / resolution)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    cuts = march_volume(field(points.reshape(-1, 3)).reshape(points.shape[:-1]).numpy())
    vertices = -1 + cuts.positions(cuts.fractions()) * (2 / resolution)
    return type("Dense", (), {"vertices": vertices, "faces": cuts.faces})


@pytest.mark.parametrize("resolution", [24, 48, 96])
def test_vertices_of_a_sphere_lie_within_the_chord_height_of_one_voxel(resolution):
    radius, h = 0.7, 2 / resolution
    mesh = extract_surface(sphere(radius), *CUBE, resolution, refine=0)
    error = np.abs(np.linalg.norm(mesh.vertices, axis=1) - radius).max()
    assert error <= h**2 / (8 * radius) * 1.1 + 1e-3 * h


def test_secant_refinement_brings_vertices_much_closer():
    def quartic(p):
        return (p**2).sum(dim=-1) ** 2 - 0.25

    rough, sharp = (
        quartic(torch.from_numpy(extract_surface(quartic, *CUBE, 40, refine=rounds).vertices)).abs().median()
        for rounds in (0, 3)
    )
    assert sharp < rough / 1000


def test_area_and_volume_of_a_sphere_converge_with_the_square_of_the_voxel():
    defects = []
    for resolution in (32, 64, 128):
        mesh = extract_surface(sphere(0.8), *CUBE, resolution)
        defects.append((1 - mesh.area / (4 * math.pi * 0.64), 1 - mesh.volume / (4 / 3 * math.pi * 0.512)))
    for coarse, fine in pairwise(defects):
        for before, after in zip(coarse, fine):
            assert 0 < after < before / 3.5


def test_euler_characteristic_is_two_for_a_sphere_and_zero_for_a_torus():
    assert euler_characteristic(extract_surface(sphere(0.5), *CUBE, 70)) == 2
    assert euler_characteristic(extract_surface(torus, *CUBE, 70)) == 0


@pytest.mark.parametrize("resolution", [33, 47, 101])
@pytest.mark.parametrize("seed", [0, 1])
def test_surface_that_stays_in_the_box_is_closed(seed, resolution):
    mesh = extract_surface(smooth_noise(seed, True), *CUBE, resolution)
    assert len(mesh.faces) > 100
    assert mesh.is_closed()


@pytest.mark.parametrize("resolution", [20, 45, 64])
def test_capped_surface_is_closed_where_the_solid_leaves_the_box(resolution):
    mesh = extract_surface(smooth_noise(2, False), *CUBE, resolution, cap=True)
    assert mesh.is_closed()
    assert np.abs(mesh.vertices).max() <= 1 + 2e-3 * 2 / resolution


def test_capped_everything_is_the_box_itself_with_outward_normals():
    mesh = extract_surface(lambda p: p[:, 0] * 0 - 5.0, *CUBE, 40, cap=True, gradient=torch.zeros_like)
    assert mesh.is_closed()
    assert mesh.volume == pytest.approx(8, rel=1e-3)
    assert mesh.area == pytest.approx(24, rel=1e-3)
    assert ((mesh.normals * mesh.vertices).sum(axis=1) > 0.99).all()


@pytest.mark.parametrize("resolution", [40, 65, 72])
@pytest.mark.parametrize("name", ["torus", "noise", "two spheres"])
def test_two_levels_give_the_triangles_of_the_whole_lattice(name, resolution):
    field = {"torus": torus, "noise": smooth_noise(3, False), "two spheres": two_spheres}[name]
    sparse = extract_surface(field, *CUBE, resolution, refine=0)
    assert triangles(sparse) == triangles(dense(field, resolution))


def test_a_distance_that_is_wrong_by_a_factor_is_still_followed_all_the_way():
    """Scaled by 50 in places: the value says nothing about the distance any more."""

    def field(p):
        return torus(p) * (1 + 49 * (p[:, 0] > 0))

    assert triangles(extract_surface(field, *CUBE, 80, refine=0)) == triangles(dense(field, 80))
    assert triangles(extract_surface(field, *CUBE, 80, refine=0, lipschitz=1e-6)) == triangles(dense(field, 80))


def test_box_with_unequal_sides_has_nearly_cubic_cells():
    low, high = torch.tensor([0.0, -1.0, 2.0]), torch.tensor([1.0, 2.0, 2.5])
    mesh = extract_surface(sphere(0.2, (0.5, 0.3, 2.25)), low, high, 90)
    assert mesh.is_closed()
    assert mesh.vertices.dtype == np.float32
    assert np.abs(np.linalg.norm(mesh.vertices - [0.5, 0.3, 2.25], axis=1) - 0.2).max() < 2e-3


def test_density_surface_encloses_what_is_denser_than_the_level():

    def density(p):
        return 50 * torch.exp(-20 * sphere(0.4)(p))

    mesh = extract_surface(density_field(density, 10.0), *CUBE, 50, refine=2)
    radius = 0.4 + math.log(5) / 20
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - radius).max() < 1e-4
    assert mesh.volume > 0


def test_normals_and_colours_come_from_the_callables():
    def color(p, n):
        return torch.stack([n[:, 0] > 0, p[:, 1] > 0, torch.full_like(n[:, 2], 0.5)], dim=-1)

    mesh = extract_surface(sphere(0.6), *CUBE, 30, gradient=lambda p: 3 * p, color=color)
    radii = np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    np.testing.assert_allclose(mesh.normals, mesh.vertices / radii, atol=1e-6)
    np.testing.assert_array_equal(mesh.colors[:, 0], np.where(mesh.normals[:, 0] > 0, 255, 0))
    np.testing.assert_array_equal(mesh.colors[:, 2], 128)


def test_a_network_is_meshed_without_recording_a_graph():
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Softplus(), torch.nn.Linear(8, 1))
    graphs = []

    def field(p):
        out = network(p)[:, 0] * 0 + sphere(0.5)(p)
        graphs.append(out.requires_grad)
        return out

    assert extract_surface(field, torch.full((3,), -1.0), torch.full((3,), 1.0), 40).is_closed()
    assert not any(graphs)


def test_field_without_a_surface_gives_an_empty_mesh():
    mesh = extract_surface(lambda p: p[:, 0] + 5, *CUBE, 64, gradient=torch.ones_like)
    assert mesh.vertices.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)
    assert mesh.normals.shape == (0, 3)


def test_no_call_is_larger_than_the_chunk_and_evaluations_are_reported():
    sizes, reports = [], []

    def field(p):
        sizes.append(len(p))
        return sphere(0.5)(p)

    extract_surface(field, *CUBE, 64, chunk=1000, progress=reports.append)
    assert max(sizes) <= 1000
    assert reports[-1].stage == "done"
    assert reports[-1].evaluations == sum(sizes)
    assert [r.evaluations for r in reports] == sorted(r.evaluations for r in reports)


def test_evaluations_grow_with_the_area_and_not_with_the_volume():
    def evaluations(resolution):
        reports = []
        extract_surface(sphere(0.5), *CUBE, resolution, progress=reports.append)
        return reports[-1].evaluations

    assert evaluations(256) < 6 * evaluations(128)
    assert evaluations(256) < 0.07 * 256**3


def test_mistakes_are_told_apart():
    with pytest.raises(UserError, match="finite"):
        extract_surface(lambda p: p[:, 0] * float("nan"), *CUBE, 40)
    with pytest.raises(UserError, match="box"):
        extract_surface(sphere(0.5), CUBE[1], CUBE[0], 40)
    with pytest.raises(UserError, match="resolution"):
        extract_surface(sphere(0.5), *CUBE, 0)
    with pytest.raises(UserError, match="power of two"):
        extract_surface(sphere(0.5), *CUBE, 64, coarse=6)


@pytest.mark.slow
def test_512_cubed_takes_few_evaluations_and_little_memory():
    """In a process of its own, so that the peak is that of the extraction."""
    script = """
import resource, torch
from rilievo.meshing import extract_surface
reports = []
one = torch.ones(3)
mesh = extract_surface(lambda p: p.norm(dim=-1) - 0.7, -one, one, 512, progress=reports.append)
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(reports[-1].evaluations, peak_kib, len(mesh.faces))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    evaluations, peak_kib, faces = map(int, done.stdout.split())
    assert faces > 1_000_000
    assert evaluations < 0.05 * 512**3
    assert peak_kib < 2 * 1024**2
