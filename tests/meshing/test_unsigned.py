"""Unsigned distances meshed: one layer, an edge where the surface has one, nothing asked far from it."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from rilievo.errors import UserError
from rilievo.geometry.mesh import TriMesh
from rilievo.meshing import extract_surface
from rilievo.meshing.unsigned import extract_unsigned_surface
from rilievo.metrics.mesh import compare_meshes
from rilievo.metrics.reference import MeshSurface

from .open_surfaces import (
    BOX,
    annulus,
    hemisphere,
    hemisphere_mesh,
    moebius_mesh,
    of_mesh,
    wavy_sheet_mesh,
)

SAMPLES = 40_000


def extracted(exact, resolution, **options):
    return extract_unsigned_surface(exact, *BOX, resolution, gradient=exact.gradient, **options)


def shift_of_border(mesh, curve):
    """Mean distance of border vertices from a densely sampled curve."""
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    return cKDTree(curve).query(mesh.vertices[np.unique(edges[count == 1])])[0].mean()


def turned_alike(mesh):
    """Whether no directed edge occurs twice."""
    directed = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    return len(np.unique(directed, axis=0)) == len(directed)


def golden_truth(golden, name):
    fixture = np.load(golden / "udf_mesh" / f"{name}.npz")
    if name == "hemisphere":
        return fixture, hemisphere_mesh(float(fixture["radius"]))
    return fixture, wavy_sheet_mesh(*(float(fixture[k]) for k in ("half_size", "amplitude", "frequency")))


class FirstOrder:
    """A distance known with its gradient on a lattice over [-1, 1]³ alone: between, the tangent planes of the cell's
    corners, weighted as in trilinear interpolation."""

    def __init__(self, udf, neg_gradient):
        self.udf, self.slope = torch.from_numpy(udf).double(), -torch.from_numpy(neg_gradient).double()

    def planes(self, points):
        last = self.udf.shape[0] - 1
        at = (points + 1) / 2 * last
        low = at.floor().clamp(0, last - 1)
        for k in range(8):
            bits = torch.tensor([k >> 2 & 1, k >> 1 & 1, k & 1])
            corner = (low + bits).long()
            weight = torch.where(bits.bool(), at - low, 1 - (at - low)).prod(-1)
            index = tuple(corner.T)
            slope = self.slope[index]
            yield weight, self.udf[index] + (slope * (at - corner)).sum(-1) * 2 / last, slope

    def __call__(self, points):
        return sum(weight * height.abs() for weight, height, _ in self.planes(points))

    def gradient(self, points):
        return sum((weight * height.sign())[:, None] * slope for weight, height, slope in self.planes(points))


@pytest.mark.golden
@pytest.mark.parametrize("name", ["hemisphere", "wavy_sheet"])
def test_open_surface_at_128_cells_is_one_layer_with_its_own_edge(golden, name):
    fixture, truth = golden_truth(golden, name)
    mesh = extracted(of_mesh(truth), 128)
    assert compare_meshes(mesh, truth, samples=SAMPLES).chamfer_percent <= 0.3
    assert mesh.boundary_loops() == int(fixture["gt/boundary_loops"])
    assert mesh.components()[0] == 1
    assert mesh.area == pytest.approx(truth.area, rel=0.03)
    assert shift_of_border(mesh, fixture["gt/boundary_curve"]) < 0.5 * 2 / 128
    assert turned_alike(mesh)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["hemisphere", "wavy_sheet"])
def test_published_lattice_of_distances_gives_a_mesh_better_than_the_published_one(golden, name):
    fixture, truth = golden_truth(golden, name)
    field = FirstOrder(fixture["udf"], fixture["neg_unit_gradient_near_surface"])
    mesh = extract_unsigned_surface(field, *BOX, int(fixture["N"]) - 1, gradient=field.gradient)
    published_mean, _ = fixture["smooth_border/exact_distance_mesh_to_surface_mean_max"]
    found = compare_meshes(mesh, truth, samples=SAMPLES)
    assert found.accuracy_percent * found.radius / 100 < published_mean
    assert mesh.boundary_loops() == int(fixture["gt/boundary_loops"])
    assert mesh.area == pytest.approx(truth.area, rel=0.03)
    assert shift_of_border(mesh, fixture["gt/boundary_curve"]) < 1.5 * float(fixture["voxel_size"])


@pytest.mark.golden
@pytest.mark.parametrize("name", ["hemisphere", "wavy_sheet"])
def test_points_of_the_surface_and_its_edge_are_nearer_than_to_the_published_mesh(golden, name):
    fixture, truth = golden_truth(golden, name)
    points = fixture["gt/surface_points"].astype(np.float64)
    assert MeshSurface(truth).nearest(points)[0].max() < 1e-3
    mesh = extracted(of_mesh(truth), int(fixture["N"]) - 1)
    covered, shift = MeshSurface(mesh).nearest(points)[0], shift_of_border(mesh, fixture["gt/boundary_curve"])
    for published in ("smooth_border", "plain"):
        mean, most = fixture[f"{published}/surface_to_mesh_mean_max"]
        assert covered.mean() < mean
        assert covered.max() < most
        assert shift < fixture[f"{published}/boundary_vertex_to_curve_mean_max"][0]


@pytest.mark.golden
@pytest.mark.parametrize("name", ["hemisphere", "wavy_sheet"])
@pytest.mark.parametrize("kind", ["smooth_border", "plain"])
def test_pieces_and_edges_of_published_meshes_are_counted_as_published(golden, name, kind):
    fixture = np.load(golden / "udf_mesh" / f"{name}.npz")
    mesh = TriMesh(fixture[f"{kind}/vertices"].astype(np.float64), fixture[f"{kind}/faces"].astype(np.int64))
    assert mesh.boundary_loops() == int(fixture[f"{kind}/boundary_loops"])
    assert mesh.components()[0] == int(fixture[f"{kind}/n_components"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learned_distance_that_never_reaches_zero_has_the_same_mesh(seed):
    """A blunt valley, a wavy floor of 1e-3 and more, slopes off by up to 10 %, and no gradient given."""
    exact, truth = hemisphere(0.62), hemisphere_mesh(0.62)
    generator = torch.Generator().manual_seed(seed)
    waves = 12 * torch.randn(3, 24, generator=generator, dtype=torch.float64)
    phases = 6.28 * torch.rand(24, generator=generator, dtype=torch.float64)

    def learned(points):
        wave = torch.sin(points @ waves + phases).mean(-1)  # about ±0.3
        return (exact(points) ** 2 + 1e-3**2).sqrt() * (1 + 0.3 * wave) + 1e-3 * (1 + wave)

    mesh = extract_unsigned_surface(learned, *BOX, 128)
    found = compare_meshes(mesh, truth, samples=SAMPLES)
    assert found.chamfer_percent <= 0.3
    assert (mesh.boundary_loops(), mesh.components()[0]) == (1, 1)
    assert mesh.area == pytest.approx(truth.area, rel=0.03)


def test_hole_in_a_disc_stays_a_hole():
    mesh = extracted(annulus(0.15, 0.7), 100)
    assert mesh.boundary_loops() == 2
    assert mesh.area == pytest.approx(np.pi * (0.7**2 - 0.15**2), rel=0.02)


def test_closed_sphere_stays_closed_and_looks_outwards():
    exact = hemisphere(0.6)
    exact.foot = lambda p: 0.6 * torch.nn.functional.normalize(p, dim=-1)
    mesh = extracted(exact, 64)
    assert mesh.is_closed()
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.01)


@pytest.mark.parametrize("depth", [0.006, 0.01])
def test_spot_where_a_learned_field_was_below_zero_is_no_hole(depth):
    """Its absolute value has two sheets there, less than a voxel apart, and next to no gradient between them."""

    def learned(points):
        away = (points.norm(dim=-1) - 0.5).abs()
        spot = (-(points - points.new_tensor([0.5, 0, 0])).square().sum(-1) / 0.2**2).exp()
        return ((away**2 + (0.004 * spot) ** 2).sqrt() - depth * spot).abs()

    corner = torch.full((3,), 0.8)
    assert extract_unsigned_surface(learned, -corner, corner, 96).is_closed()


def test_two_sheets_four_voxels_apart_stay_two():
    low, high = annulus(0, 0.6, -0.05), annulus(0, 0.5, 0.05)
    low_foot = low.foot

    def nearer(p):
        a, b = low_foot(p), high.foot(p)
        return torch.where(((p - a).norm(dim=-1) < (p - b).norm(dim=-1))[:, None], a, b)

    low.foot = nearer
    mesh = extracted(low, 80)
    assert (mesh.components()[0], mesh.boundary_loops()) == (2, 2)
    assert mesh.area == pytest.approx(np.pi * (0.6**2 + 0.5**2), rel=0.03)


def test_moebius_strip_has_one_side_one_edge_and_no_seam():
    truth = moebius_mesh()
    mesh = extracted(of_mesh(truth), 96)
    assert (mesh.components()[0], mesh.boundary_loops()) == (1, 1)
    assert mesh.area == pytest.approx(truth.area, rel=0.03)
    assert not turned_alike(mesh)


def test_lattice_of_512_cells_a_side_is_asked_near_the_surface_only():
    exact = hemisphere(0.25)
    mesh = extracted(exact, 512)
    assert exact.evaluations < 0.01 * 513**3
    assert mesh.boundary_loops() == 1
    assert mesh.area == pytest.approx(2 * np.pi * 0.25**2, rel=0.005)


def test_shell_round_the_surface_is_the_double_cover_that_is_avoided():
    exact, truth = hemisphere(0.62), hemisphere_mesh(0.62)
    shell = extract_surface(lambda p: exact(p) - 0.75 * 2 / 128, *BOX, 128)
    single = extracted(exact, 128)
    assert shell.area > 1.9 * truth.area
    assert shell.is_closed()
    ours, theirs = (compare_meshes(m, truth, samples=SAMPLES).chamfer_percent for m in (single, shell))
    assert ours < 0.1 * theirs


def test_field_without_a_surface_gives_an_empty_mesh():
    assert len(extract_unsigned_surface(lambda p: p.norm(dim=-1) + 5, *BOX, 32).faces) == 0


def test_diverged_field_is_the_users_to_know():
    with pytest.raises(UserError, match="finite"):
        extract_unsigned_surface(lambda p: p[:, 0] * torch.nan, *BOX, 16)
