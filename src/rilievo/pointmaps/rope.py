"""Rotary position embedding of patches (RoPE, Su et al. 2021, arXiv:2104.09864; in two dimensions as in CroCo v2).

A head's channels are split in two halves: the first is turned by the patch's row y, the second by its column x. Within
a half of D channels, channel k and channel k + D/2 are the two coordinates of a plane that is turned by
position · base^(-2k/D). Scores of queries and keys so turned depend on differences of positions alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Rotation:
    """Cosines and sines for every token; computed once per picture shape and used by all blocks."""

    cos: Float[Tensor, "#b 1 n 2 quarter"]
    sin: Float[Tensor, "#b 1 n 2 quarter"]

    @staticmethod
    def at(positions: Int64[Tensor, "b n 2"], head_channels: int, base: float) -> Rotation:
        """The turns of heads with `head_channels` channels (a multiple of 4) at `positions` (row, column)."""
        quarter = head_channels // 4
        k = torch.arange(quarter, device=positions.device, dtype=torch.float32)
        angles = positions[:, None, :, :, None] * base ** (-k / quarter)
        return Rotation(angles.cos(), angles.sin())

    def __call__(self, tokens: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b heads n d"]:
        """The tokens of queries or keys, turned; their dtype stays."""
        a, b = tokens.unflatten(-1, (2, 2, -1)).unbind(-2)
        turned = torch.stack((a * self.cos - b * self.sin, b * self.cos + a * self.sin), dim=-2)
        return turned.flatten(-3).to(tokens.dtype)


def patch_positions(rows: int, columns: int, device: torch.device | None = None) -> Int64[Tensor, "n 2"]:
    """Position (row, column) of every patch of a picture, row after row."""
    return torch.cartesian_prod(torch.arange(rows, device=device), torch.arange(columns, device=device)).reshape(-1, 2)
