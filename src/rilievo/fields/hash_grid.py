"""The learned table behind a hash encoding (instant-ngp, Müller et al. 2022), as a module."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.ops.hash_encode import HashGridSpec, hash_encode, hash_encode_pullback


class HashGrid(nn.Module):
    """Multiresolution hash grid over [0, 1]³. The table starts uniform in ±1e-4, as instant-ngp's does.

    `active_levels` (all at first) is how many of the coarsest levels speak; the rest give zeros at no cost.
    """

    input_dim = 3

    def __init__(self, spec: HashGridSpec, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.active_levels = spec.n_levels
        table = torch.empty(spec.total_entries, spec.features_per_level)
        self.table = nn.Parameter(table.uniform_(-1e-4, 1e-4, generator=generator))

    @property
    def n_levels(self) -> int:
        return self.spec.n_levels

    @property
    def features_per_level(self) -> int:
        return self.spec.features_per_level

    @property
    def output_dim(self) -> int:
        return self.spec.output_dim

    def forward(self, x: Float[Tensor, "points 3"]) -> Float[Tensor, "points channels"]:
        return hash_encode(x, self.table, self.spec, self.active_levels)

    def pullback(
        self, x: Float[Tensor, "points 3"], cotangent: Float[Tensor, "points channels"]
    ) -> Float[Tensor, "points 3"]:
        """The gradient by x of whatever has `cotangent` as its derivative by the features."""
        return hash_encode_pullback(cotangent, x, self.table, self.spec, self.active_levels)

    def set_step(self, step: int) -> None:
        """Nothing here depends on the step; `ProgressiveLevels` wraps a grid whose levels open one by one."""
