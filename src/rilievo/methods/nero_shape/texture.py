"""What gives a point its colour in NeRO's first stage: a material from the distance field's features, and the light."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.engine.settings import MlpConfig
from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.mlp import MLP, PlainLinear
from rilievo.shading.brdf import Material
from rilievo.shading.light import LightField
from rilievo.shading.photographer import OCTAVES as PHOTOGRAPHER_OCTAVES

from .config import LightConfig

DIRECTION_OCTAVES = 6
"""Frequencies of the mirror direction for the network that says what is hidden, as published."""
START_LIGHT = math.log(0.5)
"""Every light starts as half of white, ..."""
START_PHOTOGRAPHER = math.log(0.02)
"""... the photographer nearly unseen ..."""
START_HIDDEN = -0.95
"""... and nothing hidden: (1 - 0.95) / 2."""
TIMID = 0.1
"""Factor of the last layer's first weights, so that the values above hold nearly everywhere."""


class GlossyTexture(nn.Module):
    """Material and light round one object."""

    def __init__(
        self, material: MlpConfig, lights: LightConfig, features: int, *, photographer: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.material_network = _network(material, features + 3, 5, 0.0, generator)
        self.lights = light_field(lights, photographer=photographer, generator=generator)

    def material(self, points: Float[Tensor, "n 3"], features: Float[Tensor, "n features"]) -> Material:
        """Albedo, metallic and roughness at points of the distance field."""
        albedo, metallic, roughness = (
            self.material_network(torch.cat([features, points], -1)).sigmoid().split((3, 1, 1), -1)
        )
        return Material(albedo, metallic, roughness)


def light_field(config: LightConfig, *, photographer: bool, generator: torch.Generator) -> LightField:
    """Networks for light from all sides, as NeRO starts them."""
    place = CompositeEncoding(FrequencyEncoding(config.place_octaves), scale=1.0, offset=0.0)
    heading = CompositeEncoding(FrequencyEncoding(DIRECTION_OCTAVES), scale=1.0, offset=0.0)
    blurred = 2 * sum(2**i + 1 for i in range(config.degree))

    def network(inputs: int, outputs: int, bias: float) -> MLP:
        return _network(config.network, inputs, outputs, bias, generator)

    return LightField(
        network(blurred * (2 if config.from_sphere else 1), 3, START_LIGHT),
        network(place.output_dim + blurred, 3, START_LIGHT),
        network(place.output_dim + heading.output_dim, 1, START_HIDDEN),
        network(4 * PHOTOGRAPHER_OCTAVES, 4, START_PHOTOGRAPHER) if photographer else None,
        encode_points=place,
        encode_directions=heading,
        from_sphere=config.from_sphere,
        degree=config.degree,
        max_exponent=config.max_exponent,
    )


def _network(config: MlpConfig, inputs: int, outputs: int, bias: float, generator: torch.Generator) -> MLP:
    mlp = MLP(inputs, outputs, width=config.width, hidden_layers=config.hidden, generator=generator)
    last = mlp.layers[-1]
    assert isinstance(last, PlainLinear)
    with torch.no_grad():
        last.weight.mul_(TIMID)
        last.bias.fill_(bias)
    return mlp
