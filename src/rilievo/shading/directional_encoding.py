"""Integrated directional encoding: a direction, blurred by roughness (Ref-NeRF, Verbin et al. 2022, arXiv:2112.03907).

The features are spherical harmonics of the degrees l = 1, 2, 4, …, 2^{D-1}, orders m = 0 … l, averaged over a von
Mises-Fisher lobe of concentration κ round the direction, which dims each by about

    A_l(κ) = exp(-l (l + 1) / (2 κ))                                                                (eq. 8)

so that a rough surface sees little of high degrees. All real parts come first, then all imaginary ones; with D = 5 that
is 2 · 36 features.

Y_l^m = (x + iy)^m Q_l^m(z), with the Condon-Shortley sign in Q. The published code multiplies out Q's polynomial, whose
terms grow with l and cancel, so that float32 loses digits and degrees above D = 5 are refused. Here Q comes from the
recurrence in l, which keeps them:

    Q_l^m = a (z Q_{l-1}^m - b Q_{l-2}^m),   a² = (4 l² - 1) / (l² - m²),   b² = ((l - 1)² - m²) / (4 (l - 1)² - 1)
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.errors import clear
from rilievo.ops.directional_encode import directional_encode


class DirectionalEncoding(nn.Module):
    """Directions and roughnesses (1/κ) → `output_dim` features. Raises UserError for a degree below 1."""

    def __init__(self, degree: int = 5) -> None:
        super().__init__()
        if degree < 1:
            raise clear("directional encoding degree", expected="at least 1", got=str(degree), do="5 is usual")
        self.degree = degree
        self.bands = tuple(2**i for i in range(degree))
        self.output_dim = 2 * sum(l + 1 for l in self.bands)
        l_max = self.bands[-1]
        l = torch.arange(l_max + 1, dtype=torch.float64)[:, None]
        m = torch.arange(l_max + 1, dtype=torch.float64)
        below = m < l
        self.a: Tensor
        self.b: Tensor
        self.start: Tensor
        self.band: Tensor
        square = torch.where(below, (4 * l**2 - 1) / (l**2 - m**2).clamp_min(1), 0)
        self.register_buffer("a", square.sqrt(), persistent=False)
        square = torch.where(m < l - 1, ((l - 1) ** 2 - m**2) / (4 * (l - 1) ** 2 - 1), 0)
        self.register_buffer("b", square.clamp_min(0).sqrt(), persistent=False)
        self.register_buffer("start", _diagonal(l_max), persistent=False)
        band = torch.cat([torch.full((l + 1,), float(l), dtype=torch.float64) for l in self.bands])
        self.register_buffer("band", band, persistent=False)

    def forward(
        self, directions: Float[Tensor, "n 3"], roughness: Float[Tensor, "n 1"] | None = None
    ) -> Float[Tensor, "n features"]:
        """Encode unit directions; without roughness, unblurred."""
        blur = torch.zeros_like(directions[:, :1]) if roughness is None else roughness
        return directional_encode(directions, blur, self.a, self.b, self.start, self.degree)


def _diagonal(l_max: int) -> Float[Tensor, "l_max_plus_one"]:
    """Q_m^m = (-1)^m √((2m + 1) / 4π · ∏_{k=1}^m (2k - 1) / 2k)."""
    product, values = 1.0, []
    for m in range(l_max + 1):
        product *= (2 * m - 1) / (2 * m) if m else 1.0
        values.append((-1) ** m * math.sqrt((2 * m + 1) / (4 * math.pi) * product))
    return torch.tensor(values, dtype=torch.float64)
