"""Rays: where light paths start and which way they are followed, away from the eye."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Rays:
    """r half-lines `origins + t * directions`, t >= 0, in one frame; `rays[mask]`, `rays[2:5]` are again `Rays`."""

    origins: Float[Tensor, "r 3"]
    directions: Float[Tensor, "r 3"]
    """Unit, so that t is a distance."""

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, which: slice | Int[Tensor, "k"] | Bool[Tensor, "r"]) -> Rays:
        return Rays(self.origins[which], self.directions[which])

    def to(self, device: torch.device | str) -> Rays:
        return Rays(self.origins.to(device), self.directions.to(device))

    def at(self, t: Float[Tensor, "r *samples"]) -> Float[Tensor, "r *samples 3"]:
        """Points at distance `t` along each ray."""
        gap = (slice(None), *(None for _ in t.shape[1:]))
        return self.origins[gap] + t[..., None] * self.directions[gap]
