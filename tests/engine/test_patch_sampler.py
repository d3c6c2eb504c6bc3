"""Batches with patches: the pixels they name are the ones they show."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from rilievo.data.load import load_scene
from rilievo.engine.patch_sampler import PatchSampler, drawn_pixels, patches_at, valid_patches
from rilievo.geometry.box import ray_ball

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


@pytest.fixture(scope="module")
def dtu(golden):
    """The published loader's capture, with the skew that ours leaves out."""
    scene = load_scene(golden / "dtu_dataset")
    K = torch.from_numpy(np.load(golden / "udf_patch.npz")["dataset/intrinsics"])[:, :3, :3].double()
    return dataclasses.replace(scene, cameras=dataclasses.replace(scene.cameras, K=K))


def published_colors(scene, view):
    """As published: blue first, and 256 is one."""
    return torch.tensor(scene.images[view]).float().flip(-1) / 256


@pytest.mark.golden
def test_published_capture(golden, dtu):
    arrays = np.load(golden / "udf_patch.npz")
    images = torch.stack([published_colors(dtu, view) for view in range(len(dtu))])
    masks = torch.stack([torch.tensor(mask).float() / 256 for mask in dtu.coverage])
    torch.testing.assert_close(images, torch.from_numpy(arrays["dataset/images"]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(masks, torch.from_numpy(arrays["dataset/masks"])[..., 0], atol=1e-6, rtol=1e-5)
    poses = torch.from_numpy(arrays["dataset/pose_c2w"])
    torch.testing.assert_close(dtu.cameras.world_from_cam.float(), poses, atol=1e-6, rtol=1e-5)
    assert dtu.cameras.sizes_px.tolist() == [[int(arrays["dataset/W"]), int(arrays["dataset/H"])]] * len(dtu)


@pytest.mark.golden
@pytest.mark.parametrize("name", SETS)
def test_published_rays_of_pixels(golden, name, dtu, monkeypatch):
    """Published pixels are counted from their centres: half a pixel less than ours."""
    arrays = np.load(golden / "udf_patch.npz")
    given = {k.rsplit("/", 1)[1]: torch.from_numpy(arrays[k]) for k in arrays.files if f"rays_patches/{name}/" in k}
    K = dtu.cameras.K.clone()
    K[:, :2, 2] += 0.5
    view = int(given["img_idx"])
    cameras = dataclasses.replace(dtu.cameras, K=K)
    scene = dataclasses.replace(dtu, cameras=cameras)
    pixels = torch.stack([given["pixels_x"], given["pixels_y"]], dim=-1)
    monkeypatch.setattr("rilievo.engine.patch_sampler.drawn_pixels", lambda *_: pixels)
    sampler = PatchSampler(scene, half=int(name[-1]), importance="importance_1" in name)
    monkeypatch.setattr(sampler, "view_at", lambda step: view)
    batch = sampler.batch(0, len(pixels))
    torch.testing.assert_close(batch.rays.origins, given["rays"][:, :3], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(batch.rays.directions, given["rays"][:, 3:6], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(batch.camera_points, given["rays_norm_XYZ_cam"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(batch.ndc, given["rays_ndc_uv"], atol=1e-6, rtol=1e-5)
    assert torch.equal(batch.patch_valid, given["rays_patch_mask"][:, 0])
    on_object = batch.coverage == 1
    assert torch.equal(on_object, given["rays"][:, 9] > 0)
    colors = given["rays"][:, 6:9].flip(-1) * 256 / 255
    torch.testing.assert_close(batch.rgb[on_object], colors[on_object], atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_published_rays_of_random_pixels(golden, dtu):
    """Published pixels and principal points are both counted from a pixel's centre, which cancels."""
    arrays = np.load(golden / "udf_patch.npz")
    given = {k.removeprefix("random_rays/"): torch.from_numpy(arrays[k]) for k in arrays.files if "random_rays/" in k}
    pixels = torch.stack([given["pixels_x"], given["pixels_y"]], dim=-1)
    view = int(given["img_idx"])
    rays = dtu.cameras.rays(torch.full((len(pixels),), view), pixels.float())
    torch.testing.assert_close(rays.origins, given["rays"][:, :3], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rays.directions, given["rays"][:, 3:6], atol=1e-6, rtol=1e-5)
    colors = published_colors(dtu, view)[pixels[:, 1], pixels[:, 0]]
    torch.testing.assert_close(colors, given["rays"][:, 6:9], atol=1e-6, rtol=1e-5)
    on_object = torch.tensor(dtu.coverage[view])[pixels[:, 1], pixels[:, 0]] > 0
    assert torch.equal(on_object, given["rays"][:, 9] > 0)


@pytest.mark.golden
def test_published_rays_of_a_smaller_picture_reach_its_corners(golden, dtu):
    """Published rays of a picture shrunk by a whole number run from corner pixel to corner pixel."""
    arrays = np.load(golden / "udf_patch.npz")
    name = next(k for k in arrays.files if k.startswith("gen_rays_at_")).split("/")[0]
    view, level = map(int, re.findall(r"\d+", name))
    x, y = (torch.linspace(0, n - 1, n // level) for n in (int(arrays["dataset/W"]), int(arrays["dataset/H"])))
    pixels = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2)
    rays = dtu.cameras.rays(torch.full((len(pixels),), view), pixels)
    for found, part in ((rays.origins, "rays_o"), (rays.directions, "rays_v")):
        expected = torch.from_numpy(arrays[f"{name}/{part}"])
        assert expected.shape[:2] == (len(y), len(x))
        torch.testing.assert_close(found.view_as(expected), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_published_stretch_of_a_ray_has_ours_in_its_middle(golden, dtu):
    """It is 2 long always; ours ends where the ball does."""
    arrays = np.load(golden / "udf_patch.npz")
    rays = torch.from_numpy(arrays["random_rays/rays"])
    near, far = (torch.from_numpy(arrays[f"random_rays/{name}"])[:, 0] for name in ("near", "far"))
    ours = torch.stack(ray_ball(rays[:, :3], rays[:, 3:6], torch.zeros(3), 1.0))
    hit = ours[1] > ours[0]
    assert hit.any()
    torch.testing.assert_close(far - near, torch.full_like(far, 2.0), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.mean(0)[hit], ((near + far) / 2)[hit], atol=1e-6, rtol=1e-5)
    view = torch.full((len(rays),), int(arrays["random_rays/img_idx"]))
    pixels = torch.stack([torch.from_numpy(arrays[f"random_rays/pixels_{axis}"]) for axis in "xy"], dim=-1)
    seen = dtu.cameras.rays(view, pixels.float())
    torch.testing.assert_close(seen.directions, rays[:, 3:6], atol=1e-6, rtol=1e-5)


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
