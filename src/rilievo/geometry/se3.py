"""Rigid motions: 4x4 matrices [[R, t], [0, 1]], the similarities of scale 1.

A tangent vector is (ρ, ω): velocity of the origin and rotation vector; t = V ρ as in `sim3` with σ = 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.geometry import sim3


def compose(R: Float[Tensor, "*b 3 3"], t: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4 4"]:
    """The motion x ↦ R x + t."""
    return sim3.compose(torch.ones_like(t[..., 0]), R, t)


def inverse(T: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """x ↦ Rᵀ (x − t)."""
    R_inv = T[..., :3, :3].mT
    return compose(R_inv, -(R_inv @ T[..., :3, 3:]).squeeze(-1))


def exp(twist: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 4 4"]:
    """Motion of a twist (ρ, ω)."""
    return sim3.exp(torch.cat((twist, torch.zeros_like(twist[..., :1])), dim=-1))


def log(T: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 6"]:
    """Twist (ρ, ω) with |ω| <= π."""
    return sim3.log(T)[..., :6]
