"""A cloud in another frame: means, scales, orientations and colours all move with a similarity.

Colours of direction turn too: f'(d) = f(Rᵀ d) stays within each band of the harmonics, so its coefficients follow from
the harmonics of a few directions and of the same directions turned back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.gaussians.cloud import GaussianCloud
from rilievo.geometry import sim3, so3

Harmonics = Callable[[Float[Tensor, "d 3"]], Float[Tensor, "d harmonics"]]
"""Directions → the real harmonics of the cloud's degree, c_00's first."""
DIRECTIONS = 256
"""Directions at which colours are compared; far more than the 16 coefficients of degree 3."""


def transformed(cloud: GaussianCloud, new_from_old: Float64[Tensor, "4 4"], harmonics: Harmonics) -> GaussianCloud:
    """The cloud moved by a similarity; its quaternions come back with unit length."""
    scale, R, _ = sim3.split(new_from_old)
    turn = _turn_of_coefficients(R, harmonics).to(cloud.means)
    rotations = R.to(cloud.means) @ so3.matrix_from_quaternion(cloud.quats)
    sh = turn @ cloud.sh
    return GaussianCloud(
        means=sim3.apply(new_from_old.to(cloud.means), cloud.means),
        log_scales=cloud.log_scales + scale.log().to(cloud.means),
        quats=so3.quaternion_from_matrix(rotations),
        opacity_logits=cloud.opacity_logits,
        sh_dc=sh[:, 0],
        sh_rest=sh[:, 1:],
    )


def _turn_of_coefficients(R: Float64[Tensor, "3 3"], harmonics: Harmonics) -> Float64[Tensor, "harmonics harmonics"]:
    """M with Y(d) M c = Y(Rᵀ d) c for all d."""
    i = torch.arange(DIRECTIONS, dtype=torch.float64, device=R.device) + 0.5
    z, angle = 1 - 2 * i / DIRECTIONS, i * (torch.pi * (3 - 5**0.5))  # a Fibonacci spiral
    across = (1 - z * z).sqrt()
    directions = torch.stack((across * angle.cos(), across * angle.sin(), z), dim=-1)
    return torch.linalg.lstsq(harmonics(directions), harmonics(directions @ R)).solution
