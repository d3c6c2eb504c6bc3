"""What lies behind the region of interest, as published: a NeRF of inverted spheres, seen at a few samples of a ray.

The samples of a ray are even in the inverse distance (`fields.inverted_sphere`), from where it leaves the unit ball;
a ray that misses it begins where it is closest. σ = relu(raw density), and the colour is the network's number as it
is, below 0 and above 1, too: published, and held in range by nothing but the photographs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.cameras.rays import Rays
from rilievo.fields.inverted_sphere import InvertedSphereNerf, distances_beyond, inverted
from rilievo.ops.packed import PackedSamples
from rilievo.renderers.udf_upsampling import packed
from rilievo.renderers.volume import VolumeRender, render_volume

from .config import PublishedBackground


class InvertedSphereVolume(nn.Module):
    """Marches rays beyond the unit ball and composites what it finds.

    `spacing` is that of even samples across the ball: the first sample keeps half of it from the ball, and the last
    interval is as long.
    """

    def __init__(self, config: PublishedBackground, spacing: float, generator: torch.Generator) -> None:
        super().__init__()
        self.samples, self.spacing = config.samples, spacing
        self.nerf = InvertedSphereNerf(width=config.network.width, layers=config.network.hidden, generator=generator)

    def march(self, rays: Rays, start: Float[Tensor, "r"], jitter: Float[Tensor, "r"] | None = None) -> PackedSamples:
        """Intervals behind `start`, and on no ray before it is closest to the origin."""
        closest = -(rays.origins * rays.directions).sum(-1)
        t = distances_beyond(torch.maximum(start, closest), self.samples, self.spacing / 2, jitter)
        return packed(t, torch.full_like(t[:, :1], self.spacing), torch.ones_like(start, dtype=torch.bool))

    def forward(self, rays: Rays, samples: PackedSamples) -> VolumeRender:
        """Composite samples."""
        directions = rays.directions[samples.ray_index]

        def seen(points: Tensor) -> tuple[Tensor, Tensor]:
            raw, color = self.nerf(inverted(points), directions)
            return F.relu(raw), color

        return render_volume(rays, samples, seen, lambda color, ray: color)

    def set_step(self, step: int) -> None:
        """Nothing here follows the training step."""

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        """All of space is sampled, always."""
