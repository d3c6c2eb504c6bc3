"""Rays against meshes."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from rilievo.errors import UserError
from rilievo.meshing import extract_surface
from rilievo.ops.ray_mesh import MeshTracer, reference


@pytest.fixture(scope="module")
def ball() -> tuple[torch.Tensor, torch.Tensor]:
    """A sphere of radius 1/2, off the origin."""
    center = torch.tensor([0.1, -0.2, 0.05])
    one = torch.ones(3)
    mesh = extract_surface(lambda p: (p - center).norm(dim=-1) - 0.5, -one, one, 24)
    return torch.from_numpy(mesh.vertices).double(), torch.from_numpy(mesh.faces).long()


def rays(seed: int, n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    origins = 1.5 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    towards = 0.5 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return origins, (towards - origins) * (0.5 + torch.rand(n, 1, generator=generator, dtype=torch.float64))


def test_the_tree_finds_what_trying_every_face_finds(ball):
    origins, directions = rays(0)
    found = MeshTracer(*ball).first_hit(origins, directions)
    t, face = reference.first_hit(origins, directions, *ball)
    assert 0.2 < found.hit.float().mean() < 0.9
    assert (found.hit == (face >= 0)).all()
    torch.testing.assert_close(found.t, t, rtol=1e-6, atol=1e-6)
    assert (found.face == face).float().mean() > 0.99  # an edge may be either face's


def test_barycentric_coordinates_lead_to_the_point_on_the_ray(ball):
    origins, directions = rays(1)
    found = MeshTracer(*ball).first_hit(origins, directions)
    on_ray = (origins + found.t[:, None] * directions)[found.hit]
    torch.testing.assert_close(found.interpolate(*ball)[found.hit], on_ray, rtol=1e-9, atol=1e-9)
    assert not found.interpolate(*ball)[~found.hit].any()


def test_a_ray_is_occluded_if_it_hits_and_up_to_there_not(ball):
    tracer = MeshTracer(*ball)
    origins, directions = rays(2)
    found = tracer.first_hit(origins, directions)
    assert (tracer.occluded(origins, directions) == found.hit).all()
    before, behind = found.t * 0.999, found.t.clamp(max=1e6) * 1.001
    assert not tracer.occluded(origins, directions, before)[found.hit].any()
    assert tracer.occluded(origins, directions, behind)[found.hit].all()
    assert not tracer.first_hit(origins, directions, before).hit[found.hit].any()


def test_every_ray_from_inside_a_closed_surface_hits(ball):
    origins = torch.tensor([[0.1, -0.2, 0.05]]).expand(500, 3)
    directions = normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(3)), dim=-1)
    found = MeshTracer(*ball).first_hit(origins, directions)
    assert found.t.dtype == torch.float32
    assert found.hit.all()
    assert ((found.t - 0.5).abs() < 5e-3).all()


def test_size_and_place_of_the_mesh_do_not_matter(ball):
    vertices, faces = ball
    origins, directions = rays(4)
    plain = MeshTracer(vertices, faces).first_hit(origins, directions)
    for scale, shift in ((1e-4, 0.0), (1e5, 3e5)):
        moved = MeshTracer(vertices * scale + shift, faces).first_hit(origins * scale + shift, directions * scale)
        assert (moved.hit == plain.hit).float().mean() > 0.995
        both = moved.hit & plain.hit
        torch.testing.assert_close(moved.t[both], plain.t[both], rtol=1e-4, atol=1e-4)


def test_the_distance_is_differentiable_by_the_ray(ball):
    origins, directions = rays(5, 60)
    tracer = MeshTracer(*ball)
    hit = tracer.first_hit(origins, directions).hit
    origins, directions = (x[hit].clone().requires_grad_() for x in (origins, directions))
    tracer.first_hit(origins, directions).t.sum().backward()
    step = 1e-6
    with torch.no_grad():
        ahead = tracer.first_hit(origins + step * directions, directions).t
        still = tracer.first_hit(origins, directions).t
    torch.testing.assert_close(((ahead - still) / step).mean(), -torch.ones((), dtype=torch.float64), rtol=1e-3, atol=0)
    along = (origins.grad * directions).sum(-1)
    torch.testing.assert_close(along, -torch.ones_like(along), rtol=1e-6, atol=1e-6)


def test_no_rays_hit_nothing(ball):
    nothing = torch.zeros(0, 3)
    found = MeshTracer(*ball).first_hit(nothing, nothing)
    assert len(found.t) == 0
    assert MeshTracer(*ball).occluded(nothing, nothing).shape == (0,)


def test_faces_are_met_from_both_sides():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    tracer = MeshTracer(vertices, torch.tensor([[0, 1, 2]]))
    origins = torch.tensor([[0.2, 0.2, 1.0], [0.2, 0.2, -1.0]])
    found = tracer.first_hit(origins, -origins * torch.tensor([0, 0, 2.0]))
    torch.testing.assert_close(found.t, torch.full((2,), 0.5))
    torch.testing.assert_close(found.barycentric, torch.tensor([[0.6, 0.2, 0.2]] * 2))


@pytest.mark.parametrize(
    ("vertices", "faces", "told"),
    [
        (torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long), "0 faces"),
        (torch.full((3, 3), math.nan), torch.tensor([[0, 1, 2]]), "not finite"),
        (torch.rand(3, 3), torch.tensor([[0, 1, 3]]), "vertex 3 of 3"),
    ],
)
def test_a_broken_mesh_is_refused(vertices, faces, told):
    with pytest.raises(UserError, match=told):
        MeshTracer(vertices, faces)
