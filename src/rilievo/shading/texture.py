"""Bilinear look-up in a table of values, differentiable as often as wished by the place and by the values."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def bilinear(
    texture: Float[Tensor, "h w c"], x: Float[Tensor, "*n"], y: Float[Tensor, "*n"], *, periodic_x: bool = False
) -> Float[Tensor, "*n c"]:
    """The texture at (x, y) in texels, whose centres are at whole numbers; beyond the border the border goes on.

    With `periodic_x` the last column is followed by the first.
    """
    height, width, _ = texture.shape
    y = y.clamp(0, height - 1)
    if not periodic_x:
        x = x.clamp(0, width - 1)
    left, top = x.detach().floor(), y.detach().floor()
    to_right, down = (x - left)[..., None], (y - top)[..., None]
    column, row = left.long(), top.long()
    if periodic_x:
        column, next_column = column % width, (column + 1) % width
    else:
        next_column = (column + 1).clamp(max=width - 1)
    next_row = (row + 1).clamp(max=height - 1)
    above = texture[row, column] * (1 - to_right) + texture[row, next_column] * to_right
    below = texture[next_row, column] * (1 - to_right) + texture[next_row, next_column] * to_right
    return above * (1 - down) + below * down
