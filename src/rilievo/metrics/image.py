"""How close two pictures are: PSNR and SSIM.

Pictures are channels last, values in [0, 1] (sRGB in all numbers we report), any number of views in front. Masks choose
the pixels that count. The learned distance LPIPS is in `lpips`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.errors import clear

WINDOW = 11
SIGMA_PX = 1.5
C1, C2 = 0.01**2, 0.03**2
"""Wang et al. 2004: window of 11 pixels with a deviation of 1.5, K1 = 0.01, K2 = 0.03, for a range of 1."""


def psnr(
    image: Float[Tensor, "*views h w c"],
    reference: Float[Tensor, "*views h w c"],
    mask: Bool[Tensor, "*views h w"] | None = None,
) -> Float[Tensor, "*views"]:
    """Peak signal-to-noise ratio −10 log10(mean squared error) in dB, of each view; infinite where they are equal."""
    squared = (image - reference).square().mean(dim=-1)
    return -10 * torch.log10(_mean(squared, mask))


def ssim(
    image: Float[Tensor, "*views h w c"],
    reference: Float[Tensor, "*views h w c"],
    mask: Bool[Tensor, "*views h w"] | None = None,
) -> Float[Tensor, "*views"]:
    """Structural similarity (Wang et al. 2004, IEEE TIP 13(4)), of each view; 1 where they are equal.

    Windows that reach over the border see the picture reflected. With a mask the similarity of its pixels is averaged;
    their windows still see what lies around them. Raises UserError for pictures smaller than half a window.
    """
    return _mean(ssim_map(image, reference).mean(dim=-1), mask)


def ssim_map(
    image: Float[Tensor, "*views h w c"],
    reference: Float[Tensor, "*views h w c"],
    border: Literal["reflect", "black"] = "reflect",
) -> Float[Tensor, "*views h w c"]:
    """Structural similarity around each pixel, channel by channel.

    Beyond its border the picture is reflected, or black, as published Gaussian splatting trains with.
    """
    height, width = image.shape[-3:-1]
    if min(height, width) <= WINDOW // 2:
        raise clear(
            "pictures for SSIM",
            expected=f"at least {WINDOW // 2 + 1} pixels a side",
            got=f"{width} x {height}",
            do="compare at a higher resolution",
        )
    products = torch.stack((image, reference, image * image, reference * reference, image * reference))
    mean_x, mean_y, square_x, square_y, product = _blurred(products, border)
    var_x, var_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    similar_light = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return similar_light * (2 * covariance + C2) / (var_x + var_y + C2)


def _blurred(image: Float[Tensor, "*views h w c"], border: str) -> Float[Tensor, "*views h w c"]:
    """Gaussian-weighted mean around each pixel."""
    offsets = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA_PX**2))
    weights = weights / weights.sum()
    planes = image.movedim(-1, -3)
    mode = "reflect" if border == "reflect" else "constant"
    flat = F.pad(planes.reshape(1, -1, *planes.shape[-2:]), (WINDOW // 2,) * 4, mode=mode)
    count = flat.shape[1]  # planes as channels with a window each: several times faster than planes as a batch
    across, down = (weights.view(shape).repeat(count, 1, 1, 1) for shape in ((1, 1, 1, -1), (1, 1, -1, 1)))
    flat = F.conv2d(F.conv2d(flat, across, groups=count), down, groups=count)
    return flat.reshape(planes.shape).movedim(-3, -1)


def _mean(pixels: Float[Tensor, "*views h w"], mask: Bool[Tensor, "*views h w"] | None) -> Float[Tensor, "*views"]:
    if mask is None:
        return pixels.mean(dim=(-2, -1))
    counts = mask.sum(dim=(-2, -1))
    if not counts.all():
        raise clear(
            "mask of the pixels to compare",
            expected="at least one pixel in every view",
            got="an empty mask",
            do="leave such views out, or compare without masks",
        )
    return pixels.where(mask, 0).sum(dim=(-2, -1)) / counts
