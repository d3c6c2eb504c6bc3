"""How unlike two patches are: one value per patch, and their mean without the worst.

Patches are square, [patch pixels, 3] row by row. Structure (SSIM, NCC) is measured in one Gaussian window over the
whole patch, as in NeuralWarp (Darmon et al. 2022, arXiv:2112.09648) and NeuralUDF (arXiv:2211.14173, eq. 12).
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.errors import clear
from rilievo.metrics.image import C1, C2, SIGMA_PX


class PatchDifference(StrEnum):
    """What is compared."""

    SSIM = "ssim"
    NCC = "ncc"
    L1 = "l1"
    SSD = "ssd"


def patch_difference(
    patch: Float[Tensor, "n pixels 3"], target: Float[Tensor, "n pixels 3"], kind: PatchDifference
) -> Float[Tensor, "n"]:
    """SSIM: Σ_channels (1 - SSIM) / 2. NCC: 1 - mean correlation. L1 and SSD: channel means, summed over the pixels."""
    match PatchDifference(kind):
        case PatchDifference.SSIM:
            return (1 - patch_ssim(patch, target)).sum(-1) / 2
        case PatchDifference.NCC:
            return 1 - patch_ncc(patch, target).mean(-1)
        case PatchDifference.L1:
            return (patch - target).abs().mean(-1).sum(-1)
        case PatchDifference.SSD:
            return (patch - target).square().mean(-1).sum(-1)


def patch_ssim(patch: Float[Tensor, "n pixels 3"], target: Float[Tensor, "n pixels 3"]) -> Float[Tensor, "n 3"]:
    """Structural similarity of whole patches, per channel (Wang et al. 2004, eq. 13)."""
    w = gaussian_window(patch)
    mean, mean_target = (w * patch).sum(1), (w * target).sum(1)
    variance = (w * patch * patch).sum(1) - mean**2
    variance_target = (w * target * target).sum(1) - mean_target**2
    covariance = (w * patch * target).sum(1) - mean * mean_target
    light = (2 * mean * mean_target + C1) / (mean**2 + mean_target**2 + C1)
    return light * (2 * covariance + C2) / (variance + variance_target + C2)


def patch_ncc(patch: Float[Tensor, "n pixels 3"], target: Float[Tensor, "n pixels 3"]) -> Float[Tensor, "n 3"]:
    """Normalised cross-correlation of whole patches, per channel; 1e-4 on the variances gives a flat patch 0."""
    w = gaussian_window(patch)

    def normed(colors: Tensor) -> Tensor:
        mean = (w * colors).sum(1, keepdim=True)
        deviation = ((w * colors * colors).sum(1, keepdim=True) - mean**2 + 1e-4).sqrt()
        return (colors - mean) / (deviation + 1e-8)

    return (w * normed(patch) * normed(target)).sum(1)


def gaussian_window(patch: Float[Tensor, "n pixels 3"]) -> Float[Tensor, "pixels 1"]:
    """Weights of a patch's pixels, deviation 1.5 pixels, adding to one. Raises UserError where it is not a square."""
    side = math.isqrt(patch.shape[1])
    if side**2 != patch.shape[1]:
        raise clear(
            "patches to compare",
            expected="a square number of pixels",
            got=str(patch.shape[1]),
            do="give patches of 2 h + 1 pixels a side",
        )
    x = torch.arange(side, dtype=patch.dtype, device=patch.device) - side // 2
    row = (-(x**2) / (2 * SIGMA_PX**2)).exp()
    row = row / row.sum()
    return (row[:, None] * row).reshape(-1, 1)


def trimmed_mean(difference: Float[Tensor, "n"], valid: Bool[Tensor, "n"], drop: float = 0.3) -> Float[Tensor, ""]:
    """Mean over valid entries without the largest share `drop` of them: occlusions and highlights; 0 of none."""
    kept = difference[valid].sort(descending=True).values[int(drop * int(valid.sum())) :]
    return kept.mean() if len(kept) else difference.sum() * 0


def l1_per_masked_ray(
    rgb: Float[Tensor, "rays 3"], target: Float[Tensor, "rays 3"], mask: Bool[Tensor, "rays"]
) -> Float[Tensor, ""]:
    """Σ |difference| over all rays and channels, per ray of the mask: rays beside it count above the line alone,
    as published, where they are meant to be black."""
    return (rgb - target).abs().sum() / (mask.sum() + 1e-4)
