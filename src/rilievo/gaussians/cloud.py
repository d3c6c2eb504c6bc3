"""A cloud of anisotropic Gaussians (Kerbl et al. 2023, arXiv:2308.04079), as numbers that may be optimised freely.

A Gaussian has its mean μ, a covariance R S Sᵀ Rᵀ from a quaternion and three scales, an opacity o and a colour that
depends on the direction d it is seen from: 0.5 + Σ_lm c_lm Y_lm(d), cut off at 0, with the real spherical harmonics of
`fields.spherical_harmonics`. Scales are kept as logarithms, opacities as logits, quaternions at any length, so every
real number is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.errors import clear
from rilievo.ops.gaussian_rasterize.reference import covariances

Y00 = 0.5 / math.sqrt(math.pi)
"""The constant harmonic, 0.28209479."""
MAX_SH_DEGREE = 3


@dataclass(frozen=True)
class GaussianCloud:
    """n Gaussians; `cloud[mask]` and `cloud[indices]` are again clouds."""

    means: Float[Tensor, "n 3"]
    log_scales: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    """wxyz, of any length but 0; turns the axes of the scales into the world's."""
    opacity_logits: Float[Tensor, "n"]
    sh_dc: Float[Tensor, "n 3"]
    """Coefficients c_00 of red, green, blue."""
    sh_rest: Float[Tensor, "n k 3"]
    """Coefficients of bands 1 … degree, k = (degree + 1)² - 1, ordered (1,-1), (1,0), (1,1), (2,-2), …"""

    def __len__(self) -> int:
        return self.means.shape[0]

    def __getitem__(self, which: Bool[Tensor, "n"] | Int64[Tensor, "m"]) -> GaussianCloud:
        return GaussianCloud(**{name: values[which] for name, values in self.items()})

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of each field, in order."""
        return ((f.name, getattr(self, f.name)) for f in fields(self))

    @property
    def scales(self) -> Float[Tensor, "n 3"]:
        """Standard deviations along the three axes, in world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, "n"]:
        return torch.sigmoid(self.opacity_logits)

    @property
    def sh(self) -> Float[Tensor, "n harmonics 3"]:
        """All coefficients, c_00 first."""
        return torch.cat([self.sh_dc[:, None], self.sh_rest], dim=1)

    @property
    def sh_degree(self) -> int:
        """Highest band of the colours."""
        return math.isqrt(self.sh_rest.shape[1] + 1) - 1

    @property
    def covariances(self) -> Float[Tensor, "n 3 3"]:
        """R S Sᵀ Rᵀ, in squared world units."""
        return covariances(self.quats, self.scales)

    def detach(self) -> GaussianCloud:
        return GaussianCloud(**{name: values.detach() for name, values in self.items()})

    @staticmethod
    def concatenate(clouds: Sequence[GaussianCloud]) -> GaussianCloud:
        """The Gaussians of all clouds, in order."""
        parts = [dict(cloud.items()) for cloud in clouds]
        return GaussianCloud(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    @staticmethod
    def empty(sh_degree: int, like: Tensor | None = None) -> GaussianCloud:
        """No Gaussians at all, on the device and of the dtype of `like`."""
        new = torch.zeros(0) if like is None else like
        rest = new.new_zeros(0, _rest_count(sh_degree), 3)
        zeros = [new.new_zeros(0, width) for width in (3, 3, 4, 3)]
        return GaussianCloud(zeros[0], zeros[1], zeros[2], new.new_zeros(0), zeros[3], rest)

    @staticmethod
    def from_points(
        points: Float[Tensor, "n 3"],
        rgb: Float[Tensor, "n 3"],
        scales: Float[Tensor, "n"],
        sh_degree: int,
        opacity: float = 0.1,
    ) -> GaussianCloud:
        """Balls of the given radii (world units) at points, of one colour (sRGB in [0, 1]) from all sides.

        Raises `UserError` for a degree outside 0 … 3.
        """
        n = len(points)
        quats = points.new_zeros(n, 4)
        quats[:, 0] = 1
        return GaussianCloud(
            means=points,
            log_scales=scales.log()[:, None].repeat(1, 3),
            quats=quats,
            opacity_logits=torch.full_like(scales, math.log(opacity / (1 - opacity))),
            sh_dc=(rgb - 0.5) / Y00,
            sh_rest=points.new_zeros(n, _rest_count(sh_degree), 3),
        )


def _rest_count(sh_degree: int) -> int:
    if not 0 <= sh_degree <= MAX_SH_DEGREE:
        raise clear(
            "degree of the colours' spherical harmonics",
            expected=f"0 to {MAX_SH_DEGREE}",
            got=str(sh_degree),
            do="choose one of them",
        )
    return (sh_degree + 1) ** 2 - 1
