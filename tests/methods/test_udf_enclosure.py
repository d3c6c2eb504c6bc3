"""What is behind the points that photographs show: the inside of something, or the other side of a sheet."""

import pytest
import torch
from torch.nn.functional import normalize

from rilievo.cameras.camera import Cameras
from rilievo.methods.udf.enclosure import OneSided, enclosed, looked_into, looked_through, voted
from rilievo.methods.udf.lifted import DepthPicture, SeenSurface

CELL = 0.01


def rotated_to(forward):
    """World-from-camera rotation that looks along a direction."""
    forward = normalize(forward, dim=0)
    aside = torch.tensor([1.0, 0, 0]) if abs(forward[0]) < 0.9 else torch.tensor([0.0, 1, 0])
    right = normalize(torch.linalg.cross(aside, forward), dim=0)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)


def picture_from(center, depth_along):
    """A 64-pixel picture, from `center` towards the origin, of a surface that rays meet at t, or not at inf."""
    center = torch.tensor(center, dtype=torch.float32)
    pose = torch.eye(4, dtype=torch.float64)
    R = rotated_to(-center)
    pose[:3, :3], pose[:3, 3] = R.double(), center.double()
    K = torch.tensor([[100.0, 0, 32], [0, 100, 32], [0, 0, 1]], dtype=torch.float64)
    camera = Cameras.pinhole(pose[None], K[None], torch.tensor([[64, 64]]))
    v, u = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    rays = camera.rays(torch.zeros(64 * 64, dtype=torch.int64), torch.stack([u, v], -1).reshape(-1, 2) + 0.5)
    t = depth_along(rays.origins, rays.directions)
    met = torch.isfinite(t)
    depth = torch.where(met, t * (rays.directions @ camera.forwards[0].float()), 0).reshape(64, 64)
    return DepthPicture(camera, depth, torch.zeros(64, 64, 3), ~met.reshape(64, 64))


def sphere_depth(origins, directions, radius=0.5):
    b = (origins * directions).sum(-1)
    gap = b**2 - origins.square().sum(-1) + radius**2
    return torch.where(gap > 0, -b - gap.clamp_min(0).sqrt(), torch.inf)


def tube_depth(origins, directions, radius=0.2, half=0.4):
    """Of the cylinder round x within ±half, without its ends."""
    o, d = origins[:, 1:], directions[:, 1:]
    a, b = d.square().sum(-1).clamp_min(1e-12), (o * d).sum(-1)
    gap = b**2 - a * (o.square().sum(-1) - radius**2)
    roots = torch.stack([(-b - gap.clamp_min(0).sqrt()) / a, (-b + gap.clamp_min(0).sqrt()) / a])
    x = origins[:, 0] + roots * directions[:, 0]
    there = (gap > 0) & (x.abs() < half) & (roots > 0)
    return torch.where(there, roots, torch.inf).amin(0)


def sphere(count=20000, lowest=-1.0):
    """Points of a sphere above a share of its radius, seen from without."""
    normals = normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    normals = normals[normals[:, 2] > lowest]
    return SeenSurface(0.5 * normals, normals, torch.zeros(len(normals), dtype=torch.bool))


def tube(count=12000):
    generator = torch.Generator().manual_seed(1)
    angle, x = 2 * torch.pi * torch.rand(count, generator=generator), 0.8 * torch.rand(count, generator=generator) - 0.4
    normals = torch.stack([torch.zeros(count), angle.cos(), angle.sin()], dim=-1)
    points = 0.2 * normals + torch.stack([x, torch.zeros(count), torch.zeros(count)], dim=-1)
    return SeenSurface(points, normals, torch.zeros(count, dtype=torch.bool))


ROUND = [[2.0, 0, 1], [-2, 0.1, 1], [0, 2, 1], [0.1, -2, 1], [1, 1, 2]]


def test_a_closed_surface_goes_once_round_what_is_in_it_and_not_round_what_is_not():
    at = torch.tensor([[0.0, 0, 0], [0.2, 0.1, -0.3], [0.7, 0, 0], [2, 2, 2]])
    torch.testing.assert_close(OneSided(sphere()).winding_numbers(at), torch.tensor([1.0, 1, 0, 0]), atol=0.05, rtol=0)


def test_a_flat_sheet_goes_half_round_what_is_behind_it():
    flat = torch.rand(40000, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1
    flat[:, 2] = 0
    seen = SeenSurface(flat, torch.tensor([0.0, 0, 1]).expand_as(flat), torch.zeros(len(flat), dtype=torch.bool))
    assert OneSided(seen).winding_numbers(torch.tensor([[0.0, 0, -0.05]])).item() == pytest.approx(0.5, abs=0.05)


def test_what_was_seen_from_both_sides_goes_round_nothing():
    whole = sphere()
    half = SeenSurface(whole.points, whole.normals, whole.points[:, 0] > 0)
    assert OneSided(half).winding_numbers(torch.zeros(1, 3)).item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("lowest", [-1.0, -0.6])
def test_the_inside_of_a_ball_is_behind_its_points_whether_its_underside_is_seen_or_not(lowest):
    pictures = [picture_from(center, sphere_depth) for center in ROUND]
    assert enclosed(sphere(lowest=lowest), pictures, CELL).float().mean() > 0.99


def test_a_tube_that_a_view_looks_through_has_two_sides_and_one_that_none_does_is_full():
    across = [picture_from(center, tube_depth) for center in ([0.0, 2, 1], [0, -2, 1], [0.1, 0, -2])]
    assert enclosed(tube(), across, CELL)[tube().points[:, 0].abs() < 0.2].all()
    along = picture_from([2.5, 0.0, 0.0], tube_depth)
    assert not enclosed(tube(), [*across, along], CELL).any()


def test_a_leaf_that_is_seen_from_above_alone_has_nothing_inside():
    x = torch.rand(8000, 3, generator=torch.Generator().manual_seed(4)) - 0.5
    x[:, 2] = 0.1 * (3 * x[:, 0]).sin()
    slope = torch.stack([-0.3 * (3 * x[:, 0]).cos(), torch.zeros(len(x)), torch.ones(len(x))], dim=-1)
    leaf = SeenSurface(x, normalize(slope, dim=-1), torch.zeros(len(x), dtype=torch.bool))
    above = picture_from([0.0, 0, 2], lambda o, d: -o[:, 2] / d[:, 2])
    assert not enclosed(leaf, [above], CELL).any()


def test_views_look_through_what_is_before_the_surface_or_beside_it():
    view = picture_from([0.0, 0, -2], sphere_depth)
    points = torch.tensor([[0.0, 0, -0.7], [0, 0, -0.505], [0, 0, 0], [0.6, 0, 0], [0, 0, -3], [9, 0, 0]])
    assert looked_through(view, points).tolist() == [True, False, False, True, False, False]


def test_what_a_view_sees_beyond_the_far_side_of_something_thin_is_not_inside_of_it():
    line = torch.linspace(-0.4, 0.4, 81)
    x, y = torch.meshgrid(line, line, indexing="ij")
    plate = torch.stack([x, y, torch.zeros_like(x)], dim=-1).reshape(-1, 3)
    up = torch.tensor([0.0, 0, 1]).expand_as(plate)
    slab = SeenSurface(
        torch.cat([plate, plate - 0.05 * up]), torch.cat([up, -up]), torch.zeros(2 * len(plate), dtype=torch.bool)
    )
    middle = plate[[3280]], up[:1]
    below = picture_from([0.0, 0, -2], lambda o, d: (-0.05 - o[:, 2]) / d[:, 2])
    assert not looked_into(*middle, OneSided(slab), [below]).item()
    within = picture_from([2.0, 0, -0.02], lambda o, d: torch.full((len(o),), torch.inf))
    assert looked_into(*middle, OneSided(slab), [within]).item()


def test_a_few_points_are_outvoted():
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(3)) * 0.1
    said = torch.ones(200, dtype=torch.bool)
    said[:60] = False
    assert voted(points, said).all()
