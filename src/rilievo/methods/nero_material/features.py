"""Features of points in the unit ball from a grid over its box."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from rilievo.fields.encoding import Encoding
from rilievo.geometry.box import Box
from rilievo.geometry.contraction import contract_box


class SurfaceFeatures(nn.Module):
    """[-1, 1]³ → the encoding's features."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.encoding, self.output_dim = encoding, encoding.output_dim

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n features"]:
        return self.encoding(contract_box(points, Box.cube(1.0, points)))
