"""Depth that is right up to order: rendered depth r against an estimate g whose scale and shift mean nothing (MoDGS,
Liu et al. 2024, arXiv:2406.00434, section 3.3).

Pairs of pixels are compared instead of values. Two independent shuffles of the valid pixels make the pairs
(`random_pairs`); a pixel may meet itself, which no loss here minds. Larger depth is farther in both.

* `tanh_order`: |tanh(α (r₁ - r₂)) - sign(g₁ - g₂)| over pairs that differ by a tenth of the range of g. The paper's
  loss. The published template asks for "tanh", a name its code refuses.
* `ranking`: log(1 + e^{-o (r₁ - r₂)}) over pairs that differ by a hundredth of the range, plus (r₁ - r₂)² over those
  that do not (Chen et al. 2016, "Single-image depth perception in the wild", eq. 2; DepthRanking in the code). The
  published threshold takes the range over invalid pixels too, whose depth is 0, and the mean over no pairs is NaN; ours
  takes it over valid pixels unless told otherwise, and gives 0.
* `pearson`: 1 - correlation, and `pearson_either` (FSGS, Zhu et al. 2023): the better of correlating with -g and with
  1/(g + 200), for estimates that may be disparities. Published values of it carry up to a hundredth of rounding error,
  since 1/(g + 200) hardly varies; here means are taken off before anything is summed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.errors import clear

ALPHA = 100.0
TANH_SHARE, RANKING_SHARE = 0.1, 0.01
"""Shares of the depth range below which a pair's order is not believed."""
DISPARITY_OFFSET = 200.0


def random_pairs(
    valid: Bool[Tensor, "h w"], count: int, generator: torch.Generator | None = None
) -> Int64[Tensor, "2 pairs"]:
    """Flat pixel indices of up to `count` pairs of valid pixels.

    Raises `UserError` where no pixel is valid.
    """
    pixels = valid.flatten().nonzero()[:, 0]
    if len(pixels) == 0:
        raise clear(
            "depth order",
            expected="pixels with estimated depth",
            got="a mask that leaves none",
            do="check the depth files and masks of this frame",
        )
    shuffled = [pixels[torch.randperm(len(pixels), generator=generator)[:count].to(pixels.device)] for _ in range(2)]
    return torch.stack(shuffled)


def depth_range(estimate: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Float[Tensor, ""]:
    """Largest minus smallest valid depth."""
    known = estimate[valid]
    return known.max() - known.min()


def tanh_order(
    rendered: Float[Tensor, "h w"],
    estimate: Float[Tensor, "h w"],
    pairs: Int64[Tensor, "2 pairs"],
    threshold: Float[Tensor, ""] | float,
    alpha: float = ALPHA,
) -> Float[Tensor, "kept"]:
    """Per pair whose estimates differ by at least `threshold` (a tenth of `depth_range` in the paper)."""
    r, g = rendered.flatten()[pairs], estimate.flatten()[pairs]
    kept = (g[0] - g[1]).abs() >= threshold
    r, g = r[:, kept], g[:, kept]
    return (torch.tanh(alpha * (r[0] - r[1])) - (g[0] - g[1]).sign()).abs()


def ranking(
    rendered: Float[Tensor, "h w"],
    estimate: Float[Tensor, "h w"],
    pairs: Int64[Tensor, "2 pairs"],
    threshold: Float[Tensor, ""] | float,
) -> Float[Tensor, ""]:
    """Mean over ordered pairs plus mean over the others; a kind without pairs adds nothing."""
    r, g = rendered.flatten()[pairs], estimate.flatten()[pairs]
    apart, step = g[0] - g[1], r[0] - r[1]
    ordered = apart.abs() >= threshold
    ordered_loss = F.softplus(-apart.sign() * step) * ordered
    equal_loss = step.square() * ~ordered
    return ordered_loss.sum() / ordered.sum().clamp_min(1) + equal_loss.sum() / (~ordered).sum().clamp_min(1)


def correlation(a: Float[Tensor, "n"], b: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Pearson's coefficient; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.norm() * b.norm()).clamp_min(torch.finfo(a.dtype).tiny)


def pearson(rendered: Float[Tensor, "n"], estimate: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """1 - correlation of valid pixels: 0 for any positive scale and any shift."""
    return 1 - correlation(estimate, rendered)


def pearson_either(
    rendered: Float[Tensor, "n"], estimate: Float[Tensor, "n"], offset: float = DISPARITY_OFFSET
) -> Float[Tensor, ""]:
    """The smaller of 1 - corr(-g, r) and 1 - corr(1/(g + offset), r), for estimates that grow towards the camera."""
    return torch.minimum(1 - correlation(-estimate, rendered), 1 - correlation(1 / (estimate + offset), rendered))
