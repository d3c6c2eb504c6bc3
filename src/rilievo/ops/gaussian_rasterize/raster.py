"""One path for whole pictures and for chosen pixels: a background and a median depth around the compositor."""

import torch
from torch import Tensor

from rilievo.ops.gaussian_rasterize import reference


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
    if pixels_px is None:
        columns, rows = torch.arange(size_px[0], device=means2d.device), torch.arange(size_px[1], device=means2d.device)
        pixels_px = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)
    composited, depth, remaining, median = reference.rasterize(
        means2d, conics, depths, radii, opacities, features, pixels_px
    )
    median_depth = torch.cat((depths, depths.new_zeros(1)))[median]
    return composited + remaining[:, None] * background, 1 - remaining, depth, median_depth
