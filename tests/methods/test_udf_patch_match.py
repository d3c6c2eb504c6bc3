"""A textured plane seen by a few cameras: where it is, and how it is turned, is found from a guess."""

import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.engine.view_sampler import Picture
from rilievo.methods.udf.other_views import OtherViews
from rilievo.methods.udf.patch_match import search

SIZE, FOCAL = 64, 80.0
EYES = ((0.0, 0.0, -3.0), (0.5, 0.0, -3.0), (-0.4, 0.3, -2.9), (0.1, -0.5, -3.1), (-0.3, -0.4, -3.0))


def picture(view, eye):
    """What an eye that looks along z sees of a pattern in the plane z = 0.2 x."""
    K = torch.tensor([[[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)[None].clone()
    pose[0, :3, 3] = torch.tensor(eye)
    camera = Cameras.pinhole(pose, K, torch.tensor([[SIZE, SIZE]]))
    rays = camera.view_rays(0, torch.float64)
    points = rays.at(true_distance(rays))
    waves = torch.sin(points[:, :1] * torch.tensor([9.0, 14, 5]) + points[:, 1:2] * torch.tensor([11.0, 4, 17]))
    rgb = ((0.5 + 0.4 * waves) * 255).round().to(torch.uint8).view(SIZE, SIZE, 3)
    everywhere = torch.ones(SIZE, SIZE, dtype=torch.bool)
    return Picture(view, camera, rgb, torch.full((SIZE, SIZE), 255, dtype=torch.uint8), everywhere)


def true_distance(rays):
    """Along rays, to the plane z = 0.2 x."""
    across = rays.directions[:, 2] - 0.2 * rays.directions[:, 0]
    return -(rays.origins[:, 2] - 0.2 * rays.origins[:, 0]) / across


@pytest.fixture(scope="module")
def others():
    return OtherViews([picture(i, eye) for i, eye in enumerate(EYES)], 4)


@pytest.fixture(scope="module")
def pixels():
    line = torch.arange(16, 48, 4)
    return torch.cartesian_prod(line, line)


def test_planes_are_found_from_guesses_that_are_off(others, pixels):
    generator = torch.Generator().manual_seed(0)
    rays = others.pictures[0].camera.rays(torch.zeros(len(pixels), dtype=torch.int64), pixels + 0.5)
    truth = true_distance(rays)
    guess = truth + 0.06 * torch.randn(len(pixels), generator=generator)
    found = search(others, 0, pixels, guess, reach=0.06, rounds=25, half=3, generator=generator)
    assert (found.t - truth).abs().median() < 0.25 * (guess - truth).abs().median()
    assert found.error.median() < 0.02
    normal = torch.nn.functional.normalize(torch.tensor([0.2, 0, -1]), dim=0)
    assert (found.normals @ normal).median() > 0.9


def test_without_other_pictures_guesses_stay(pixels):
    alone = OtherViews([picture(0, EYES[0])], 4)
    guess = torch.full((len(pixels),), 2.0)
    generator = torch.Generator().manual_seed(0)
    found = search(alone, 0, pixels, guess, reach=0.1, rounds=3, half=2, generator=generator)
    assert torch.equal(found.t, guess)
    assert (found.error == 1).all()


def test_other_pictures_are_those_that_look_the_same_way_and_have_the_same_size(others):
    sources = others.near(0)
    assert sources is not None
    assert sources.images.shape == (4, 1, SIZE, SIZE)
    colored = others.near(0, torch.ones(3))
    assert colored is not None
    assert colored.images.shape == (4, 3, SIZE, SIZE)
