"""The published table of the split sum as our integral, summed densely, and only at the texels that are looked up.

The published file itself is not among the stored numbers. Its 256² texels are this integral to about 1e-4, which is its
own noise; summing all of ours as densely would take minutes.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from rilievo.shading.split_sum import reflectance_integral

SIZE = 256
DRAWS = (80, 40)
AT_ONCE = 2048


class ShippedTable:
    """Fills itself where it is asked for."""

    def __init__(self) -> None:
        self.values = torch.zeros(SIZE, SIZE, 2)
        self.known = torch.zeros(SIZE, SIZE, dtype=torch.bool)

    def around(self, n_dot_v: Tensor, roughness: Tensor) -> Tensor:
        """The table [256, 256, 2], right wherever these places [..., 1] are looked up."""
        places = torch.cat([roughness, n_dot_v], -1).detach()
        corner = (places.clamp(0, 1) * SIZE - 0.5).clamp(0, SIZE - 1).long()
        wanted = torch.zeros_like(self.known)
        for offset in ((0, 0), (0, 1), (1, 0), (1, 1)):
            row, column = (corner + torch.tensor(offset)).clamp(max=SIZE - 1).unbind(-1)
            wanted[row, column] = True
        for texels in (wanted & ~self.known).nonzero().split(AT_ONCE):
            row, column = texels.unbind(-1)
            self.values[row, column] = reflectance_integral(
                (column + 0.5) / SIZE, (row + 0.5) / SIZE, draws=DRAWS
            ).float()
        self.known |= wanted
        return self.values


@cache
def shipped_table() -> ShippedTable:
    """One for all tests, so that no texel is summed twice."""
    return ShippedTable()
