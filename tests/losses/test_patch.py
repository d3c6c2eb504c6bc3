"""Differences of patches: published values and gradients, and what they are blind to."""

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.losses import l1
from rilievo.losses.patch import (
    PatchDifference,
    gaussian_window,
    l1_per_masked_ray,
    patch_difference,
    patch_ncc,
    trimmed_mean,
)


@pytest.fixture(scope="module")
def published(golden):
    arrays = np.load(golden / "udf_patch.npz")
    return {k: torch.from_numpy(arrays[k]) for k in arrays.files if "_loss/" in k}


@pytest.mark.golden
@pytest.mark.parametrize("kind", list(PatchDifference))
def test_published_differences_of_patches(published, kind):
    target, mask = published["patch_loss/gt"], published["patch_loss/mask"][:, 0]
    names = [k for k in published if k.startswith(f"patch_loss/{kind.value}_penalize_") and k.endswith("/loss")]
    assert names
    for name in names:
        pred = published["patch_loss/pred"].clone().requires_grad_()
        drop = float(name.split("_")[-1].split("/")[0])
        loss = trimmed_mean(patch_difference(pred, target, kind), mask, drop)
        torch.testing.assert_close(loss.detach(), published[name], atol=1e-6, rtol=1e-5)
        loss.backward()
        expected = published[name.replace("/loss", "/grad_pred")]
        torch.testing.assert_close(pred.grad, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_published_similarity_of_each_patch(published):
    pred, target = published["patch_loss/pred"], published["patch_loss/gt"]
    ssim = patch_difference(pred, target, PatchDifference.SSIM)
    torch.testing.assert_close(ssim, published["patch_loss/ssim_per_patch"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        patch_ncc(pred, target).mean(-1), published["patch_loss/ncc_per_patch"], atol=1e-6, rtol=1e-5
    )
    window = published["patch_loss/window"][0, 0].reshape(-1, 1)
    torch.testing.assert_close(gaussian_window(pred), window, atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_published_pixel_losses(published):
    pred, target = published["pixel_loss/pred"], published["pixel_loss/gt"]
    masked = l1_per_masked_ray(pred, target, published["pixel_loss/mask"][:, 0])
    torch.testing.assert_close(masked, published["pixel_loss/with_mask"], atol=1e-6, rtol=1e-5)
    everywhere = l1(pred, target).mean()
    torch.testing.assert_close(everywhere, published["pixel_loss/without_mask"], atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_published_sum_of_colour_losses(published):
    given = {k.removeprefix("color_loss/"): v for k, v in published.items() if k.startswith("color_loss/")}
    base, full, pixel = (
        l1_per_masked_ray(given[name], given["gt"], given[mask][:, 0])
        for name, mask in (("color_base", "pixel_mask"), ("color", "pixel_mask"), ("color_pixel", "patch_mask"))
    )
    for found, name in ((base, "color_base_loss"), (full, "color_loss"), (pixel, "color_pixel_loss")):
        torch.testing.assert_close(found, given[name], atol=1e-6, rtol=1e-5)
    weight = given["weights_base_color_pixel_patch"]
    patches = trimmed_mean(
        patch_difference(published["patch_loss/pred"], published["patch_loss/gt"], PatchDifference.SSIM),
        given["patch_mask"][:, 0],
    )
    torch.testing.assert_close(patches, given["color_patch_loss"], atol=1e-6, rtol=1e-5)
    total = (base * weight[0] + full * weight[1] + pixel * weight[2]) / weight[:3].sum() + patches * weight[3]
    torch.testing.assert_close(total, given["loss"], atol=1e-6, rtol=1e-5)


def random_patches(n=6, side=7):
    return torch.rand(n, side * side, 3, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("kind", list(PatchDifference))
def test_equal_patches_do_not_differ(kind):
    patches = random_patches()
    assert patch_difference(patches, patches, kind).abs().max() < 2e-2  # NCC adds to variances
    assert (patch_difference(patches, patches.flip(0), kind) > 0.1).all()


def test_correlation_does_not_see_exposure():
    patches = random_patches()
    torch.testing.assert_close(patch_ncc(patches, patches), patch_ncc(0.5 * patches + 0.2, patches), atol=5e-3, rtol=0)


def test_trimmed_mean_drops_the_worst_of_the_valid():
    difference, valid = torch.tensor([9.0, 1, 2, 3, 100]), torch.tensor([True, True, True, True, False])
    assert float(trimmed_mean(difference, valid, 0.25)) == 2
    assert float(trimmed_mean(difference, torch.zeros(5, dtype=torch.bool))) == 0


def test_patches_are_square():
    with pytest.raises(UserError, match="square"):
        gaussian_window(torch.zeros(1, 8, 3))
