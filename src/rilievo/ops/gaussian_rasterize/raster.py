"""One path for whole pictures and for chosen pixels: tiles, then the compositor, then background and median depth."""

import functools

import torch
from torch import Tensor

from rilievo.ops.gaussian_rasterize import register
from rilievo.ops.gaussian_rasterize.binning import TILE, tiles_across
from rilievo.ops.gaussian_rasterize.reference import pixel_grid


def rasterize(
    means2d: Tensor,
    conics: Tensor,
    depths: Tensor,
    radii: Tensor,
    opacities: Tensor,
    features: Tensor,
    background: Tensor,
    size_px: tuple[int, int],
    pixels_px: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features over the background, alpha, accumulated and median depth of the pixels, or of all, row by row."""
    tiled = _tiled_picture(size_px, means2d.device) if pixels_px is None else _tiled(pixels_px, size_px)
    with torch.no_grad():
        *pairs, levels = register.bin_gaussians(means2d, conics, depths, radii, opacities, tiled[1], *size_px)
    values = torch.cat((features, depths[:, None]), dim=1)
    out, alpha, remaining, _, median = register.composite(means2d, conics, opacities, values, levels, *pairs, *tiled)
    composited, depth = out.split([features.shape[1], 1], dim=1)
    median_depth = torch.cat((depths, depths.new_zeros(1)))[median.long()]  # -1, for none, is the zero at the end
    return composited + remaining[:, None] * background, alpha, depth[:, 0], median_depth


def _tiled(pixels_px: Tensor, size_px: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels sorted by tile and by quarter within, where each tile's begin, and which of the given ones each was."""
    width, height = size_px
    columns, rows = tiles_across(width), tiles_across(height)
    x, y = pixels_px.unbind(dim=1)
    tile = y // TILE * columns + x // TILE
    quarter = y % TILE // (TILE // 2) * 2 + x % TILE // (TILE // 2)
    place = (tile * 4 + quarter).argsort(stable=True)
    offsets = torch.zeros(columns * rows + 1, dtype=torch.int64, device=pixels_px.device)
    offsets[1:] = torch.bincount(tile, minlength=columns * rows).cumsum(0)
    return pixels_px[place].to(torch.int32), offsets, place


@functools.lru_cache(maxsize=8)
def _tiled_picture(size_px: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    return _tiled(pixel_grid(size_px, device), size_px)
