"""Batches with patches: the pixels they name are the ones they show."""

import numpy as np
import pytest
import torch

from rilievo.data.load import load_scene
from rilievo.engine.patch_sampler import PatchSampler, drawn_pixels, patches_at, valid_patches

SETS = ["importance_0_h3", "importance_0_h5", "importance_1_h3", "importance_1_h5"]


@pytest.fixture(scope="module")
def scene(capture):
    return load_scene(capture)


@pytest.mark.golden
@pytest.mark.parametrize("name", SETS)
def test_published_draws_give_the_published_pixels(golden, name, monkeypatch):
    arrays = np.load(golden / "udf_patch.npz")
    given = {k.rsplit("/", 1)[1]: torch.from_numpy(arrays[k]) for k in arrays.files if f"rays_patches/{name}/" in k}
    draws = iter([given[f"randint_{k}"] for k in range(3) if f"randint_{k}" in given])
    monkeypatch.setattr(torch, "randint", lambda *_, **__: next(draws))
    width, height = int(arrays["dataset/W"]), int(arrays["dataset/H"])
    mask = torch.from_numpy(arrays["dataset/masks"])[int(given["img_idx"]), :, :, 0] > 0
    on_object = mask if "importance_1" in name else None
    pixels = drawn_pixels(width, height, len(given["pixels_x"]), torch.Generator(), on_object)
    assert torch.equal(pixels, torch.stack([given["pixels_x"], given["pixels_y"]], dim=-1))
    half = int(name[-1])
    assert torch.equal(valid_patches(pixels, width, height, half), given["rays_patch_mask"][:, 0])
    ndc = 2 * pixels / torch.tensor([width - 1, height - 1]) - 1
    torch.testing.assert_close(ndc, given["rays_ndc_uv"], atol=1e-6, rtol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("name", SETS)
def test_middle_of_a_patch_is_the_published_colour_of_its_ray(golden, name):
    """The published patches themselves are resampled off the pixels; their rays are not."""
    arrays = np.load(golden / "udf_patch.npz")
    given = {k.rsplit("/", 1)[1]: torch.from_numpy(arrays[k]) for k in arrays.files if f"rays_patches/{name}/" in k}
    image = torch.from_numpy(arrays["dataset/images"])[int(given["img_idx"])]
    pixels = torch.stack([given["pixels_x"], given["pixels_y"]], dim=-1)
    patches, valid = patches_at(image, pixels, int(name[-1]))
    middle = patches[:, patches.shape[1] // 2]
    torch.testing.assert_close(middle[valid], given["rays"][valid, 6:9])
    assert float(patches[~valid].abs().sum()) == 0


def test_patch_is_the_neighbourhood_row_by_row():
    image = torch.arange(7 * 9).float().reshape(7, 9, 1).expand(-1, -1, 3)
    patches, valid = patches_at(image, torch.tensor([[4, 3]]), 1)
    assert valid.all()
    assert torch.equal(patches[0, :, 0].reshape(3, 3), image[2:5, 3:6, 0])


def test_batch_is_a_function_of_seed_and_step(scene):
    first, again = (PatchSampler(scene, importance=True, seed=5).batch(7, 32) for _ in range(2))
    other = PatchSampler(scene, importance=True, seed=6).batch(7, 32)
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.rgb, again.rgb)
    assert not torch.equal(first.pixels, other.pixels)


def test_every_training_view_has_its_turn(scene):
    sampler = PatchSampler(scene)
    views = [sampler.view_at(step) for step in range(len(scene.train_views))]
    assert sorted(views) == sorted(scene.train_views)


def test_colours_rays_and_patches_belong_to_the_pixels(scene):
    batch = PatchSampler(scene, half=2).batch(3, 64)
    view = int(batch.view[0])
    assert (batch.view == view).all()
    middle = batch.patches[:, batch.patches.shape[1] // 2]
    torch.testing.assert_close(middle[batch.patch_valid], batch.rgb[batch.patch_valid])
    at_depth = batch.rays.origins + batch.rays.directions * batch.camera_points.norm(dim=-1, keepdim=True)
    pixels, depth = scene.cameras.project(view, at_depth.double())
    torch.testing.assert_close(pixels.float(), batch.pixels + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(depth.float(), torch.ones(64), atol=1e-4, rtol=0)
    assert (batch.ndc.abs() <= 1).all()


def test_importance_puts_three_rays_of_four_on_the_object(scene):
    batch = PatchSampler(scene, importance=True).batch(0, 64)
    assert (batch.coverage[16:] >= 0.5).all()
