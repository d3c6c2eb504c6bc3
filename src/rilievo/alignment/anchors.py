"""Anchors: one depth per block of pixels, on which every other depth of the view hangs.

A view of h x w pixels is cut into blocks of `step` x `step`. Each block has an anchor, the pixel whose depth the
aligner solves for; any other pixel of the block follows it at a fixed ratio o of depths, its *offset* (MASt3R-SfM,
Duisterhof et al. 2024, arXiv:2409.19152, §3.2). Without a mask the anchor is the pixel at the block's centre. With one
it is the foreground pixel nearest to the centre, so that a block cut by an outline hangs on the object; a block
without foreground keeps its centre and is marked unusable: nothing may hang on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class AnchorGrid:
    """Which pixel is the anchor of which block."""

    height: int
    width: int
    step: int
    pixel: Int64[Tensor, "anchors"]
    """Flat index y * width + x of each anchor, blocks row after row."""
    usable: Bool[Tensor, "anchors"]
    """Whether the block holds any foreground."""

    @property
    def columns(self) -> int:
        return -(-self.width // self.step)

    def __len__(self) -> int:
        return len(self.pixel)

    def blocks_at(self, xy: Float[Tensor, "p 2"]) -> Int64[Tensor, "p"]:
        """The block of each pixel (x, y), counted from the centre of the top left pixel; the nearest pixel counts."""
        x, y = nearest_pixels(xy, self.height, self.width)
        return (y // self.step) * self.columns + x // self.step

    def of_every_pixel(self) -> Int64[Tensor, "h w"]:
        """The flat index of the anchor that each pixel hangs on."""
        y = torch.arange(self.height, device=self.pixel.device) // self.step
        x = torch.arange(self.width, device=self.pixel.device) // self.step
        return self.pixel[y[:, None] * self.columns + x]


@dataclass(frozen=True)
class Hung:
    """Pixels hung on anchors."""

    anchor: Int64[Tensor, "p"]
    offset: Float[Tensor, "p"]
    """Depth of the pixel over depth of its anchor."""
    valid: Bool[Tensor, "p"]
    """False where the anchor is unusable or either depth is not a positive number; the offset is then 1."""


def anchor_grid(
    height: int, width: int, step: int, mask: Bool[Tensor, "h w"] | None = None, device: torch.device | None = None
) -> AnchorGrid:
    """Anchors of an image; blocks at the right and lower edges may be incomplete."""
    device = mask.device if mask is not None else device
    rows, columns = -(-height // step), -(-width // step)
    y = torch.arange(rows, device=device) * step + step // 2
    x = torch.arange(columns, device=device) * step + step // 2
    centre = (y.clamp_max(height - 1)[:, None] * width + x.clamp_max(width - 1)).reshape(-1)
    if mask is None:
        return AnchorGrid(height, width, step, centre, torch.ones_like(centre, dtype=torch.bool))
    yy = torch.arange(height, device=device)[:, None].expand(height, width)
    xx = torch.arange(width, device=device).expand(height, width)
    away = (yy % step - step // 2) ** 2 + (xx % step - step // 2) ** 2
    block = (yy // step) * columns + xx // step
    rank = torch.where(mask, away, 2 * step**2) * (height * width) + yy * width + xx  # distance first, then order
    best = torch.full_like(centre, torch.iinfo(torch.int64).max)
    best.scatter_reduce_(0, block.reshape(-1), rank.reshape(-1), "amin")
    usable = best < 2 * step**2 * height * width
    return AnchorGrid(height, width, step, torch.where(usable, best % (height * width), centre), usable)


def core_depths(points: Float[Tensor, "h w 3"], grid: AnchorGrid) -> Float[Tensor, "anchors"]:
    """Depth z of a pointmap at the anchors; where an anchor is unusable or not in front, the median of those that are.

    So every core depth is positive and finite, also where the mask is empty (all are then 1).
    """
    z = points[..., 2].reshape(-1)[grid.pixel]
    good = grid.usable & torch.isfinite(z) & (z > 0)
    return torch.where(good, z, z[good].median() if good.any() else torch.ones_like(z[:1]))


def hang(relative_depth: Float[Tensor, "h w"], xy: Float[Tensor, "p 2"], grid: AnchorGrid) -> Hung:
    """Hang pixels (x, y), counted from the centre of the top left pixel, on the anchors of their blocks.

    `relative_depth` is any depth map up to a factor per block (the canonical one, see `canonical`).
    """
    x, y = nearest_pixels(xy, grid.height, grid.width)
    anchor = grid.blocks_at(xy)
    depth, reference = relative_depth[y, x], relative_depth.reshape(-1)[grid.pixel[anchor]]
    offset = depth / reference
    valid = grid.usable[anchor] & (reference > 0) & torch.isfinite(offset) & (offset > 0)
    return Hung(anchor, torch.where(torch.isfinite(offset), offset, 1), valid)


def nearest_pixels(xy: Float[Tensor, "p 2"], height: int, width: int) -> tuple[Int64[Tensor, "p"], Int64[Tensor, "p"]]:
    """Column and row of the pixel nearest to each position, counted from the centre of the top left pixel."""
    near = xy.round().long()
    return near[:, 0].clamp(0, width - 1), near[:, 1].clamp(0, height - 1)
