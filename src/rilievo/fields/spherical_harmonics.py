"""Real spherical harmonics of a direction, the encoding of view directions in instant-ngp (arXiv:2201.05989,
appendix).

Y_l^m = N_l^m P_l^|m|(z) / (1-z²)^{|m|/2} · {Re, Im}(x + iy)^|m|, ordered (l, m) = (0,0), (1,-1), (1,0), (1,1),
(2,-2), …, with the Condon-Shortley sign (-1)^m kept in P. Our input is the unit direction itself, in [-1, 1];
tiny-cuda-nn wants it in [0, 1] and maps it back, so `tcnn((d + 1) / 2)` there is `SphericalHarmonics()(d)` here.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.errors import clear

MAX_DEGREE = 5
"""Five bands resolve about 45° in direction; more would let a view-dependent colour explain away the shape."""


class SphericalHarmonics(nn.Module):
    """The degree² real harmonics of bands l < `degree`. Raises UserError for a degree outside 1 … 5."""

    def __init__(self, degree: int = 4) -> None:
        super().__init__()
        if not 1 <= degree <= MAX_DEGREE:
            raise clear(
                "spherical harmonics degree",
                expected=f"1 to {MAX_DEGREE}",
                got=str(degree),
                do="choose the number of bands in that range (4 is usual)",
            )
        self.degree = degree
        self.input_dim = 3
        self.output_dim = degree**2

    def forward(self, directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays harmonics"]:
        x, y, z = directions.unbind(-1)
        real, imaginary = torch.ones_like(x), torch.zeros_like(x)  # of (x + iy)^m
        harmonics: dict[tuple[int, int], Tensor] = {}
        for m in range(self.degree):
            for l, legendre in enumerate(_legendre(m, z, self.degree), start=m):
                scaled = _normalisation(l, m) * legendre
                harmonics[l, -m] = scaled * imaginary
                harmonics[l, m] = scaled * real  # for m = 0 in place of the line above, whose value is 0
            real, imaginary = x * real - y * imaginary, x * imaginary + y * real
        return torch.stack([harmonics[l, m] for l in range(self.degree) for m in range(-l, l + 1)], dim=-1)


def _legendre(m: int, z: Tensor, degree: int) -> list[Tensor]:
    """P_l^m(z) / (1-z²)^{m/2} for l = m … degree-1, by the recurrence in l."""
    first = (-1) ** m * math.prod(range(1, 2 * m, 2))
    values = [torch.full_like(z, first)]
    for l in range(m + 1, degree):
        below = (l + m - 1) * values[-2] if l > m + 1 else torch.zeros_like(z)
        values.append(((2 * l - 1) * z * values[-1] - below) / (l - m))
    return values


def _normalisation(l: int, m: int) -> float:
    """Makes the harmonics orthonormal over the sphere; √2 because cosine and sine share the weight of ±m."""
    both = 2 if m > 0 else 1
    return math.sqrt(both * (2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m))
