"""Distances between pictures."""

import math

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.metrics.image import psnr, ssim, ssim_map


@pytest.fixture
def picture():
    return torch.rand(24, 31, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_psnr_of_a_constant_difference_is_its_logarithm(picture):
    assert psnr(picture, picture + 0.1).item() == pytest.approx(20)
    assert psnr(picture, picture).item() == math.inf


def test_ssim_is_one_only_for_equal_pictures_and_does_not_care_which_is_first(picture):
    other = (picture + 0.1 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    assert ssim(picture, picture).item() == pytest.approx(1)
    assert ssim(picture, other) == ssim(other, picture)
    assert ssim(picture, other) < 0.99


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b = 0.3, 0.6
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    flat = torch.full((16, 16, 1), a, dtype=torch.float64)
    assert ssim(flat, flat * b / a).item() == pytest.approx(expected)


def test_ssim_at_the_centre_is_the_textbook_sum(picture):
    x, y = picture[:11, :11, 0].numpy(), (picture[:11, :11, 0].numpy() * 0.7 + 0.1) ** 2
    g = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    w = np.outer(g, g) / g.sum() ** 2
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, c = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
    expected = (2 * mx * my + 1e-4) * (2 * c + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    found = ssim_map(torch.from_numpy(x)[..., None], torch.from_numpy(y)[..., None])[5, 5, 0]
    assert found.item() == pytest.approx(expected)


def test_only_masked_pixels_count(picture):
    mask = torch.zeros(24, 31, dtype=torch.bool)
    mask[:, 20:] = True
    spoilt = picture.clone()
    spoilt[:, :10] = 0
    assert psnr(picture, spoilt, mask).item() == math.inf
    assert ssim(picture, spoilt, mask).item() == pytest.approx(1)
    with pytest.raises(UserError, match="empty mask"):
        psnr(picture, spoilt, torch.zeros_like(mask))


def test_views_are_measured_each_for_itself(picture):
    pair, other = torch.stack([picture, picture]), torch.stack([picture + 0.1, picture + 0.01])
    torch.testing.assert_close(psnr(pair, other), torch.tensor([20.0, 40.0], dtype=torch.float64))
    torch.testing.assert_close(ssim(pair, other)[1], ssim(picture, picture + 0.01))


def test_pictures_smaller_than_half_a_window_are_refused():
    with pytest.raises(UserError, match="pixels a side"):
        ssim(torch.zeros(5, 20, 3), torch.zeros(5, 20, 3))


@pytest.mark.golden
def test_psnr_and_ssim_are_the_published_ones(golden):
    data = np.load(golden / "neus_losses.npz")
    a, b = (torch.from_numpy(data[f"metrics/{name}"]).movedim(1, -1) for name in "ab")
    close = {"atol": 1e-6, "rtol": 1e-5}
    torch.testing.assert_close(psnr(a, b), torch.from_numpy(data["metrics/psnr_none"]), **close)
    torch.testing.assert_close(psnr(a.flatten(0, 1), b.flatten(0, 1)), torch.tensor(data["metrics/psnr"]), **close)
    torch.testing.assert_close(ssim(a, b), torch.from_numpy(data["metrics/ssim"]), **close)
