"""The world beyond the unit sphere as published with NeuS and NeRO: a NeRF of inverted spheres (NeRF++, Zhang et al.
2020, arXiv:2010.07492).

A point p is given as (p / |p|, 1 / |p|), so that all of space outside lies in a bounded set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.shading.color import linear_to_srgb

POINT_OCTAVES, VIEW_OCTAVES = 10, 4
SKIP = 4
"""The layer after which the encoded point is fed in again."""
BRIGHTEST = 5.0
"""Exponent of the brightest light."""


class InvertedSphereNerf(nn.Module):
    """Points beyond the unit sphere and directions towards the eye → density before its activation, and sRGB colour."""

    def __init__(self, *, width: int = 256, layers: int = 8, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.encode_points = CompositeEncoding(FrequencyEncoding(POINT_OCTAVES, input_dim=4), scale=1.0, offset=0.0)
        self.encode_views = CompositeEncoding(FrequencyEncoding(VIEW_OCTAVES), scale=1.0, offset=0.0)
        inputs = self.encode_points.output_dim
        fan_in = [inputs] + [width + (inputs if k == SKIP else 0) for k in range(layers - 1)]
        self.trunk = nn.ModuleList(_linear(n, width, generator) for n in fan_in)
        self.feature, self.density = _linear(width, width, generator), _linear(width, 1, generator)
        self.view = _linear(width + self.encode_views.output_dim, width // 2, generator)
        self.color = _linear(width // 2, 3, generator)

    def forward(
        self, points: Float[Tensor, "n 3"], view_dirs: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        length = points.norm(dim=-1, keepdim=True)
        encoded = self.encode_points(torch.cat([points / length, 1 / length], -1))
        hidden = encoded
        for k, layer in enumerate(self.trunk):
            hidden = F.relu(layer(hidden))
            if k == SKIP:
                hidden = torch.cat([encoded, hidden], -1)
        seen = torch.cat([self.feature(hidden), self.encode_views(view_dirs)], -1)
        light = self.color(F.relu(self.view(seen))).clamp(max=BRIGHTEST).exp()
        return self.density(hidden)[:, 0], linear_to_srgb(light)


def density_alpha(raw: Float[Tensor, "n"], dt: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Opacity of intervals of length `dt`: 1 - exp(-softplus(raw) dt)."""
    return -torch.expm1(-F.softplus(raw) * dt)


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """torch's own initialisation of a linear layer, from a generator."""
    layer = nn.Linear(inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
