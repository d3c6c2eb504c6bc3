"""A learned panorama is one picture of all directions, and what reflections find teaches it nothing."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from rilievo.shading.environment import Environment
from rilievo.shading.panorama_light import LearnedPanorama, PanoramaLight
from rilievo.shading.traced_light import Meeting


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def panorama(rows: tuple[int, ...]) -> LearnedPanorama:
    made = LearnedPanorama(rows, start=0.0)
    with torch.no_grad():
        for k, pixels in enumerate(made.maps):
            pixels.copy_(drawn(*pixels.shape, seed=k).abs())
    return made


def test_one_map_is_looked_up_as_any_panorama():
    made = panorama((8,))
    directions = normalize(drawn(200, 3), dim=-1)
    same = Environment(made.maps[0].detach().movedim(0, -1))
    torch.testing.assert_close(made(directions), same.radiance_towards(directions), atol=1e-5, rtol=1e-5)


def test_finer_maps_are_added():
    both = panorama((4, 8))
    directions = normalize(drawn(50, 3), dim=-1)
    whole = both(directions)
    with torch.no_grad():
        both.maps[1].zero_()
    coarse = both(directions)
    alone = LearnedPanorama((8,), 0.0)
    with torch.no_grad():
        alone.maps[0].copy_(drawn(3, 8, 16, seed=1).abs())
    torch.testing.assert_close(whole, coarse + alone(directions), atol=1e-5, rtol=1e-5)


def test_there_is_no_seam_where_the_last_column_meets_the_first():
    made = panorama((8, 16))
    angle = torch.tensor([math.pi / 2 - 1e-4, math.pi / 2 + 1e-4])
    left, right = made(torch.stack([angle.cos(), angle.sin(), torch.zeros(2)], -1))
    assert (left - right).abs().max() < 1e-2


@pytest.fixture
def light() -> PanoramaLight:
    sent = torch.nn.Linear(3 + 2 * 5, 3)
    with torch.no_grad():
        for k, parameter in enumerate(sent.parameters()):
            parameter.copy_(0.1 * drawn(*parameter.shape, seed=k))
    return PanoramaLight(panorama((4,)), sent, encode_points=lambda x: x, degree=2, max_exponent=3.0)


def test_photographs_teach_what_the_surface_sends_and_reflections_only_look_it_up(light):
    points, normals = drawn(6, 3), normalize(drawn(6, 3, seed=1), dim=-1)
    assert light.sent(points, normals, normals).requires_grad
    assert not light.from_surface(points, normals, normals).requires_grad
    torch.testing.assert_close(light.sent(points, normals, normals), light.from_surface(points, normals, normals))


def test_rays_that_leave_carry_the_panorama_and_rays_that_meet_carry_the_surface(light):
    points, directions = 0.1 * drawn(5, 3), normalize(drawn(5, 4, 3, seed=2), dim=-1)

    def trace(origins: torch.Tensor, heading: torch.Tensor) -> Meeting:
        hit = heading[:, 2] > 0
        return Meeting(origins + heading, -heading, torch.ones_like(heading[:, :1]), hit)

    seen = light(points, directions, trace)
    up = directions[..., 2] > 0
    expected = light.surroundings(points.repeat_interleave(4, 0), directions.flatten(0, 1)).view(5, 4, 3)
    torch.testing.assert_close(seen[~up], expected[~up])
    assert not torch.isclose(seen[up], expected[up]).all()
