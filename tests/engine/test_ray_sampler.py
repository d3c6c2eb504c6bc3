"""Training rays: a batch depends on seed and step alone, and its pixels are the photos'."""

import dataclasses

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.cameras.orientation import look_at
from rilievo.data.scene import MaskMeaning, Region, Scene
from rilievo.engine.ray_sampler import RaySampler, step_seed
from rilievo.errors import UserError

SIZES = ((7, 5), (4, 9), (6, 6))
"""Width and height of each view: no two alike, so a mistaken stride shows."""


@pytest.fixture
def scene() -> Scene:
    """Three views of noise, the second held out; red and green spell the pixel's place, blue its view."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(3, 3, generator=generator, dtype=torch.float64) * 3
    poses = look_at(centers, torch.zeros(3, 3, dtype=torch.float64), torch.tensor([0.0, 0.0, 1.0]).double())
    K = torch.tensor([[8.0, 0, 3], [0, 8.0, 2.5], [0, 0, 1]], dtype=torch.float64).repeat(3, 1, 1)
    images = []
    for view, (width, height) in enumerate(SIZES):
        row, column = np.mgrid[:height, :width]
        images.append(np.stack([column * 10, row * 10, np.full_like(row, view * 50)], axis=-1).astype(np.uint8))
    return Scene(
        name="noise",
        cameras=Cameras.pinhole(poses, K, torch.tensor(SIZES)),
        names=("a", "b", "c"),
        images=tuple(images),
        coverage=None,
        mask_meaning=None,
        test_views=(1,),
        region=Region(np.zeros(3), 1.0, "given"),
    )


def with_masks(scene: Scene, meaning: MaskMeaning) -> Scene:
    """Coverage falls from left to right: 255, 170, 85, 0, 255, …"""
    ramp = [np.broadcast_to(255 - np.arange(w) % 4 * 85, (h, w)).astype(np.uint8) for w, h in SIZES]
    return dataclasses.replace(scene, coverage=tuple(ramp), mask_meaning=meaning)


def tensors(batch):
    yield from (batch.rays.origins, batch.rays.directions, batch.rgb, batch.coverage, batch.view, batch.jitter)


def test_the_same_seed_and_step_give_the_same_batch_whoever_asks(scene):
    one, other = (RaySampler(scene, random_background=True, seed=3) for _ in range(2))
    other.batch(6, 11)  # what was drawn before does not matter
    for a, b in zip(tensors(one.batch(7, 50)), tensors(other.batch(7, 50)), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(one.batch(7, 50).background, other.batch(7, 50).background)


@pytest.mark.parametrize(("seed", "step"), [(3, 8), (4, 7)])
def test_another_seed_or_step_gives_another_batch(scene, seed, step):
    one = RaySampler(scene, random_background=True, seed=3).batch(7, 50)
    other = RaySampler(scene, random_background=True, seed=seed).batch(step, 50)
    assert not torch.equal(one.jitter, other.jitter)
    assert not torch.equal(one.rgb, other.rgb)
    assert not torch.equal(one.background, other.background)


def test_no_two_steps_of_neighbouring_runs_share_a_seed():
    seeds = {step_seed(seed, step) for seed in range(8) for step in range(5000)}
    assert len(seeds) == 8 * 5000


@pytest.mark.parametrize("parts", [2, 3])
def test_the_parts_of_a_batch_interleave_to_the_whole(scene, parts):
    sampler = RaySampler(with_masks(scene, MaskMeaning.OBJECT), random_background=True, seed=3)
    whole = sampler.batch(5, 50)
    shares = [sampler.batch(5, 50, part=part, parts=parts) for part in range(parts)]
    assert sum(map(len, shares)) == 50
    for part, share in enumerate(shares):
        assert torch.equal(share.background, whole.background)
        for mine, all_of_it in zip(tensors(share), tensors(whole), strict=True):
            assert torch.equal(mine, all_of_it[part::parts])


def test_each_ray_is_the_cameras_ray_through_the_centre_of_the_pixel_whose_colour_it_has(scene):
    batch = RaySampler(scene, random_background=False, seed=0).batch(0, 400)
    column, row, view = (batch.rgb * 255).round().to(torch.int64).unbind(-1)
    assert torch.equal(view, batch.view * 50)
    rays = scene.cameras.rays(batch.view, torch.stack([column // 10, row // 10], dim=-1) + 0.5)
    assert torch.equal(batch.rays.origins, rays.origins)
    assert torch.equal(batch.rays.directions, rays.directions)


def test_every_pixel_of_the_training_views_is_drawn_and_none_of_those_held_out(scene):
    batch = RaySampler(scene, random_background=False, seed=0).batch(0, 4000)
    drawn = {tuple(c) for c in (batch.rgb * 255).round().int().tolist()}
    assert drawn == {tuple(int(v) for v in c) for i in (0, 2) for c in scene.images[i].reshape(-1, 3)}


def test_a_cut_out_object_lies_over_the_background_of_the_batch(scene):
    masked = with_masks(scene, MaskMeaning.OBJECT)
    batch = RaySampler(masked, random_background=True, seed=2).batch(4, 300)
    plain = RaySampler(scene, random_background=True, seed=2).batch(4, 300)
    assert set((batch.coverage * 255).round().int().tolist()) == {0, 85, 170, 255}
    alpha = batch.coverage[:, None]
    assert torch.allclose(batch.rgb, plain.rgb * alpha + batch.background * (1 - alpha), atol=1e-6)
    empty = batch.coverage == 0
    assert torch.equal(batch.rgb[empty], batch.background.expand(int(empty.sum()), 3))


def test_the_background_is_white_where_it_is_not_drawn(scene):
    sampler = RaySampler(with_masks(scene, MaskMeaning.OBJECT), random_background=False, seed=2)
    assert torch.equal(sampler.batch(4, 3).background, torch.ones(3))


def test_pixels_to_be_ignored_are_never_drawn_and_the_others_keep_their_colour(scene):
    batch = RaySampler(with_masks(scene, MaskMeaning.IGNORE), random_background=True, seed=2).batch(4, 4000)
    column, row, view = (batch.rgb * 255).round().int().unbind(-1)
    assert set((column // 10 % 4).tolist()) == {0, 1}  # coverage 255 and 170, not 85 and 0
    expected = sum(1 for i in (0, 2) for x in range(SIZES[i][0]) for _ in range(SIZES[i][1]) if x % 4 < 2)
    assert len(set(zip(column.tolist(), row.tolist(), view.tolist()))) == expected
    assert batch.coverage.eq(1).all()


def test_masks_that_ignore_everything_are_refused(scene):
    nothing = tuple(np.zeros((h, w), np.uint8) for w, h in SIZES)
    blind = dataclasses.replace(scene, coverage=nothing, mask_meaning=MaskMeaning.IGNORE)
    with pytest.raises(UserError, match="no mask ignores"):
        RaySampler(blind, random_background=False, seed=0)
