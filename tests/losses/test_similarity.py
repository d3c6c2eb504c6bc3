"""Structural dissimilarity, against the published loss."""

import numpy as np
import pytest
import torch

from rilievo.losses import dssim, l1
from rilievo.metrics.image import psnr


def test_equal_pictures_have_none():
    picture = torch.rand(20, 30, 3, generator=torch.Generator().manual_seed(0))
    assert dssim(picture, picture).abs().max() < 1e-6


@pytest.fixture(scope="module")
def published(shared):
    held = np.load(shared / "golden" / "dynamic" / "ssim_l1.npz")
    return {name: torch.from_numpy(held[name]) for name in held.files}


def channels_last(planes):
    return planes.movedim(0, -1)


@pytest.mark.golden
def test_ssim_and_l1_are_the_published_ones(published):
    image, target = channels_last(published["img1"]).requires_grad_(), channels_last(published["img2"])
    similarity = 1 - dssim(image, target)
    # pixel by pixel the published map has lost 5e-5 to single precision, so double precision is the judge
    exact = 1 - dssim(image.double(), target.double())
    lost = (published["ssim_map"].mean(0) - exact).abs().max()
    assert (similarity - exact).abs().max() < lost < 1e-4
    assert similarity.mean().item() == pytest.approx(published["ssim"].item(), abs=1e-5)
    (gradient,) = torch.autograd.grad(similarity.mean(), image)
    torch.testing.assert_close(gradient, channels_last(published["ssim_grad_img1"]), atol=1e-5, rtol=1e-5)
    assert l1(image.flatten(0, 1), target.flatten(0, 1)).mean().item() == pytest.approx(
        published["l1"].item(), abs=1e-5
    )


@pytest.mark.golden
def test_masked_pixels_count_for_nothing(published):
    mask = channels_last(published["mask"])
    image, target = channels_last(published["img1"]) * mask, channels_last(published["img2"]) * mask
    assert l1(image.flatten(0, 1), target.flatten(0, 1)).mean().item() == pytest.approx(
        published["mask_l1"].item(), abs=1e-5
    )
    assert (1 - dssim(image, target)).mean().item() == pytest.approx(published["mask_ssim"].item(), abs=1e-5)


@pytest.mark.golden
def test_together_they_are_the_published_photometric_loss(published):
    image, target = channels_last(published["img1"]).requires_grad_(), channels_last(published["img2"])
    total = l1(image.flatten(0, 1), target.flatten(0, 1)).mean() + 0.2 * dssim(image, target).mean()
    assert total.item() == pytest.approx(published["photometric_total"].item(), abs=1e-5)
    (gradient,) = torch.autograd.grad(total, image)
    torch.testing.assert_close(gradient, channels_last(published["photometric_total_grad"]), atol=1e-5, rtol=1e-5)


@pytest.mark.golden
def test_peak_signal_to_noise_ratios_are_the_published_ones(published):
    """Published evaluation reports the mean over channels; ours is that of the whole picture."""
    image, target = channels_last(published["img1"]), channels_last(published["img2"])
    alone = torch.stack([psnr(image[..., c : c + 1], target[..., c : c + 1]) for c in range(3)])
    torch.testing.assert_close(alone, published["psnr_per_channel_3HW"].flatten(), atol=1e-5, rtol=1e-6)
    assert alone.mean().item() == pytest.approx(published["psnr_mean_3HW"].item(), abs=1e-5)
    assert psnr(image, target).item() == pytest.approx(published["psnr_batched_13HW"].item(), abs=1e-5)
    masked = psnr(image, target, published["mask"][0] > 0)
    assert masked.item() == pytest.approx(published["psnr_masked"].item(), abs=1e-5)
    assert (image - target).square().mean().item() == pytest.approx(published["l2"].item(), abs=1e-5)
    assert 1 - dssim(image, target).mean().item() == pytest.approx(published["ssim_batched"].item(), abs=1e-5)
