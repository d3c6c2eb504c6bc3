"""The world beyond the unit sphere as published with NeuS, NeRO and NeuralUDF: a NeRF of inverted spheres (NeRF++,
Zhang et al. 2020, arXiv:2010.07492).

A point p is given as (p / |p|, 1 / |p|), so that all of space outside lies in a bounded set. What density and colour
are made of the network's numbers is for each method to say.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .encoding import CompositeEncoding
from .frequency import FrequencyEncoding

POINT_OCTAVES, VIEW_OCTAVES = 10, 4
SKIP = 4
"""The layer after which the encoded point is fed in again, unless it is the last."""
LEAST = 1e-3
"""Least inverse distance of a sample, in that of where the world beyond begins."""


class InvertedSphereNerf(nn.Module):
    """Inverted points and unit directions → density and colour, both before any activation."""

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
        self, inverted: Float[Tensor, "n 4"], directions: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        """`inverted` as the function of that name gives it. NeRO turns `directions` to the eye, NeuralUDF away."""
        encoded = self.encode_points(inverted)
        hidden = encoded
        for k, layer in enumerate(self.trunk):
            hidden = F.relu(layer(hidden))
            if k == SKIP and k + 1 < len(self.trunk):
                hidden = torch.cat([encoded, hidden], -1)
        seen = torch.cat([self.feature(hidden), self.encode_views(directions)], -1)
        return self.density(hidden)[:, 0], self.color(F.relu(self.view(seen)))


def inverted(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    """(p / |p|, 1 / |p|) of points beyond the unit sphere. Those within are as published as they are, with a 1."""
    length = points.norm(dim=-1, keepdim=True).clamp_min(1)
    return torch.cat([points / length, 1 / length], -1)


def distances_beyond(
    start: Float[Tensor, "rays"], count: int, gap: float, jitter: Float[Tensor, "rays"] | None = None
) -> Float[Tensor, "rays count"]:
    """`count` ascending distances along rays that are even in the inverse distance, `gap` farther than start / s.

    s runs from nearly 1 down to a thousandth. `jitter` in [0, 1) moves each s within its share of the range, on a ray
    all alike; without it s is where the shares meet.
    """
    shares = torch.linspace(LEAST, 1 - 1 / (count + 1), count, dtype=start.dtype, device=start.device)
    s = shares.expand(len(start), -1)
    if jitter is not None:
        middle = (s[:, 1:] + s[:, :-1]) / 2
        low, high = torch.cat([s[:, :1], middle], -1), torch.cat([middle, s[:, -1:]], -1)
        s = low + (high - low) * jitter[:, None]
    return start[:, None] / s.flip(-1) + gap


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """torch's own initialisation of a linear layer, from a generator."""
    layer = nn.Linear(inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
