"""The colour a point sends along a direction (NeRF, arXiv:2003.08934; with the normal as in IDR and NeuS,
arXiv:2106.10689, appendix).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .activation import activation
from .mlp import MLP
from .spherical_harmonics import SphericalHarmonics


class RadianceField(nn.Module):
    """Feature, spherical harmonics of the ray's direction and, if wanted, the normal → colour, in this order of
    inputs.
    """

    def __init__(
        self,
        feature_dim: int,
        *,
        with_normals: bool = False,
        degree: int = 4,
        width: int = 64,
        hidden_layers: int = 2,
        color_activation: str = "sigmoid",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.with_normals = with_normals
        self.harmonics = SphericalHarmonics(degree)
        input_dim = feature_dim + self.harmonics.output_dim + (3 if with_normals else 0)
        self.network = MLP(input_dim, 3, width=width, hidden_layers=hidden_layers, generator=generator)
        self._activation = activation(color_activation)

    def forward(
        self,
        feature: Float[Tensor, "samples features"],
        directions: Float[Tensor, "directions 3"],
        normals: Float[Tensor, "samples 3"] | None = None,
        *,
        ray_index: Int[Tensor, "samples"] | None = None,
    ) -> Float[Tensor, "samples 3"]:
        """Colours of samples. `directions` are unit, from the eye; one per sample, or one per ray with `ray_index` to
        share them.
        """
        assert (normals is not None) == self.with_normals, "normals are given exactly when the field was built for them"
        harmonics = self.harmonics(directions)
        if ray_index is not None:
            harmonics = harmonics[ray_index]
        inputs = [feature, harmonics] if normals is None else [feature, harmonics, normals]
        return self._activation(self.network(torch.cat(inputs, dim=-1)))


class ColorField(nn.Module):
    """Feature → colour, the same from everywhere: for meshes and matte objects."""

    def __init__(
        self,
        feature_dim: int,
        *,
        width: int = 64,
        hidden_layers: int = 2,
        color_activation: str = "sigmoid",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.network = MLP(feature_dim, 3, width=width, hidden_layers=hidden_layers, generator=generator)
        self._activation = activation(color_activation)

    def forward(self, feature: Float[Tensor, "samples features"]) -> Float[Tensor, "samples 3"]:
        return self._activation(self.network(feature))
