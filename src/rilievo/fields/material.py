"""What a surface is made of, point by point, as NeRO's second stage learns it (arXiv:2305.17398, section 3.5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.shading.brdf import Material
from rilievo.shading.microfacet import MIN_ALPHA

from .encoding import Encoding
from .mlp import MLP


class FrequencyFeatures(nn.Module):
    """The published trunk: eight layers over an encoded point, which is fed in again half way."""

    def __init__(
        self, encoding: Encoding, *, width: int = 256, hidden: int = 3, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.encoding, self.output_dim = encoding, width
        self.first, self.second = (
            MLP(inputs, width, width=width, hidden_layers=hidden, weight_norm=True, generator=generator)
            for inputs in (encoding.output_dim, encoding.output_dim + width)
        )

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n width"]:
        encoded = self.encoding(points)
        return self.second(torch.cat([F.relu(self.first(encoded)), encoded], -1))


class MaterialField(nn.Module):
    """Points of the surface → albedo, metallic and roughness, each from the features and the point itself.

    The network for roughness gives α = roughness², between `MIN_ALPHA` and 1, as published; unless `squared`, it gives
    the roughness itself, which then changes evenly where mirrors are sharp.
    """

    def __init__(
        self, features: nn.Module, albedo: MLP, metallic: MLP, roughness: MLP, *, squared: bool = True
    ) -> None:
        super().__init__()
        self.features, self.albedo, self.metallic, self.roughness = features, albedo, metallic, roughness
        self.squared = squared

    def forward(self, points: Float[Tensor, "n 3"]) -> Material:
        seen = torch.cat([self.features(points), points], -1)
        albedo, metallic, rough = (torch.sigmoid(part(seen)) for part in (self.albedo, self.metallic, self.roughness))
        if self.squared:
            return Material(albedo, metallic, (rough * (1 - MIN_ALPHA) + MIN_ALPHA).sqrt())
        least = MIN_ALPHA**0.5
        return Material(albedo, metallic, rough * (1 - least) + least)
