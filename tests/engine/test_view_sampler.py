"""Training pictures: a function of the step alone, straightened, shrunk, and silent where nothing is known."""

import dataclasses

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.data.scene import MaskMeaning, Region, Scene
from rilievo.engine.exposure import Exposure
from rilievo.engine.view_module import picture_factor
from rilievo.engine.view_render import through_lens
from rilievo.engine.view_sampler import ViewSampler, straightened
from rilievo.errors import UserError

VIEWS, WIDTH, HEIGHT = 5, 24, 16


def scene(coverage=None, meaning=None, distortion=None):
    poses = torch.eye(4, dtype=torch.float64).repeat(VIEWS, 1, 1)
    K = torch.tensor([[30.0, 0, 12], [0, 30, 8], [0, 0, 1]], dtype=torch.float64).repeat(VIEWS, 1, 1)
    cameras = Cameras.pinhole(poses, K, torch.tensor([[WIDTH, HEIGHT]]).repeat(VIEWS, 1))
    if distortion is not None:
        bent = torch.zeros(VIEWS, 8, dtype=torch.float64)
        bent[:, :2] = torch.tensor(distortion)
        cameras = dataclasses.replace(cameras, distortion=bent)
    images = np.random.default_rng(0).integers(0, 256, (VIEWS, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Scene(
        name="noise",
        cameras=cameras,
        names=tuple(f"{i}.png" for i in range(VIEWS)),
        images=tuple(images),
        coverage=None if coverage is None else tuple(coverage),
        mask_meaning=meaning,
        test_views=(2,),
        region=Region(np.zeros(3), 1.0, "given"),
    )


def sampler(given, random_background=True):
    return ViewSampler(given, random_background=random_background, seed=4)


def test_a_batch_is_a_function_of_the_step_and_an_epoch_shows_every_training_view_once():
    one, other = sampler(scene()), sampler(scene())
    batches = [one.batch(step) for step in range(8)]
    assert sorted(b.view for b in batches[:4]) == sorted(b.view for b in batches[4:]) == [0, 1, 3, 4]
    again = other.batch(5)
    assert again.view == batches[5].view
    assert torch.equal(again.rgb, batches[5].rgb)
    assert torch.equal(again.background, batches[5].background)
    assert not torch.equal(batches[5].background, batches[6].background)


def test_a_shrunk_picture_keeps_its_mean_and_its_camera_its_view():
    whole, half = sampler(scene()).batch(0), sampler(scene()).batch(0, 0.5)
    assert half.rgb.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert torch.allclose(half.rgb.mean((0, 1)), whole.rgb.mean((0, 1)), atol=1e-6)
    assert torch.equal(half.camera.K[0, :2] * 2, whole.camera.K[0, :2])


def test_outside_an_object_mask_there_is_the_background():
    coverage = np.zeros((VIEWS, HEIGHT, WIDTH), np.uint8)
    coverage[:, 4:9, 5:11] = 255
    batch = sampler(scene(coverage, MaskMeaning.OBJECT)).batch(3)
    assert torch.equal(batch.rgb[0, 0], batch.background)
    assert batch.supervised.all()
    assert batch.coverage.sum() == 30


def test_ignored_pixels_are_not_supervised_nor_are_small_ones_that_hold_one():
    coverage = np.full((VIEWS, HEIGHT, WIDTH), 255, np.uint8)
    coverage[:, 3, 3] = 0
    given = sampler(scene(coverage, MaskMeaning.IGNORE))
    assert (~given.batch(0).supervised).nonzero().tolist() == [[3, 3]]
    assert (~given.batch(0, 0.5).supervised).nonzero().tolist() == [[1, 1]]
    assert given.batch(0).coverage.all()


@pytest.mark.parametrize("meaning", MaskMeaning)
def test_masks_that_leave_nothing_to_learn_are_refused(meaning):
    with pytest.raises(UserError, match="at least one training pixel"):
        sampler(scene(np.zeros((VIEWS, HEIGHT, WIDTH), np.uint8), meaning))


def test_a_bent_photo_is_straightened_and_its_margin_says_nothing():
    picture = straightened(scene(distortion=(-0.6, 0.0)), 0)
    assert not picture.camera.distortion.any()
    assert 0.3 < picture.supervised.float().mean() < 1
    assert not picture.supervised[0, WIDTH // 2]


def test_a_lens_shows_what_its_rays_meet():
    """A picture that is the direction of each pixel's ray, seen through a lens, is the directions of the lens."""
    camera = scene(distortion=(-0.15, 0.02)).cameras

    def directions(pinhole):
        rays = pinhole.view_rays(0).directions
        width, height = pinhole.sizes_px[0].tolist()
        return (rays / rays[:, 2:]).view(height, width, 3)

    seen = through_lens(directions, camera, 1)
    expected = camera.view_rays(1).directions
    expected = (expected / expected[:, 2:]).view(HEIGHT, WIDTH, 3)
    inside = (slice(1, -1), slice(1, -1))  # beside the border the look-up mixes in what is beyond
    assert (seen[inside] - expected[inside]).abs().max() < 2e-3


def test_a_pinhole_is_drawn_as_it_is():
    camera = scene().cameras
    assert through_lens(lambda c: torch.ones(HEIGHT, WIDTH, 1), camera, 0).all()


def test_pictures_double_at_the_given_steps():
    assert [picture_factor(step, (10, 20)) for step in (0, 9, 10, 19, 20, 99)] == [0.25, 0.25, 0.5, 0.5, 1, 1]
    assert picture_factor(0, ()) == 1


def test_exposure_starts_as_the_identity_and_is_each_views_own():
    exposure, rgb, alpha = Exposure(3), torch.rand(4, 5, 3), torch.rand(4, 5)
    assert torch.equal(exposure(rgb, alpha, 1), rgb)
    exposure.affine.data[1, :, 3] = 0.1
    assert torch.allclose(exposure(rgb, alpha, 1), rgb + 0.1 * alpha[..., None])
    assert torch.equal(exposure(rgb, alpha, 2), rgb)
