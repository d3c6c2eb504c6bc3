"""Similarities: rotation R, scale s > 0 and translation t as 4x4 matrices [[sR, t], [0, 1]].

A tangent vector is (ρ, ω, σ): σ = log s, ω the rotation vector and ρ the velocity of the origin. Under exp the
translation is t = V ρ with V = ∫₀¹ e^{σu} exp(uω) du (Eade, "Lie groups for 2D and 3D transformations", 2013, §6). The
integrand is entire, so Gauss-Legendre quadrature gives V to rounding for every rotation and any scale between e⁻¹⁰ and
e¹⁰, with none of the special cases near θ = 0 and σ = 0 that its closed form needs.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.errors import clear
from rilievo.geometry import so3

NODES, WEIGHTS = (part / 2 for part in np.polynomial.legendre.leggauss(24))
NODES = NODES + 0.5


def compose(
    scale: Float[Tensor, "*b"], R: Float[Tensor, "*b 3 3"], t: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 4 4"]:
    """The similarity x ↦ s R x + t."""
    bottom = torch.zeros_like(R[..., :1, :])
    top = torch.cat((scale[..., None, None] * R, t[..., None]), dim=-1)
    one = torch.ones_like(t[..., None, :1])
    return torch.cat((top, torch.cat((bottom, one), dim=-1)), dim=-2)


def split(S: Float[Tensor, "*b 4 4"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b 3 3"], Float[Tensor, "*b 3"]]:
    """Scale, rotation and translation of a similarity."""
    scale = torch.linalg.det(S[..., :3, :3]) ** (1 / 3)
    return scale, S[..., :3, :3] / scale[..., None, None], S[..., :3, 3]


def inverse(S: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """x ↦ Rᵀ (x − t) / s."""
    scale, R, t = split(S)
    return compose(1 / scale, R.mT, -(R.mT @ t[..., None]).squeeze(-1) / scale[..., None])


def apply(S: Float[Tensor, "4 4"], points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """The similarity's image of points."""
    return points @ S[:3, :3].mT + S[:3, 3]


def apply_to_directions(S: Float[Tensor, "4 4"], directions: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Directions turn; they neither move nor change length."""
    return directions @ split(S)[1].mT


def exp(tangent: Float[Tensor, "*b 7"]) -> Float[Tensor, "*b 4 4"]:
    """Similarity of a tangent vector (ρ, ω, σ)."""
    rho, omega, sigma = tangent[..., :3], tangent[..., 3:6], tangent[..., 6]
    return compose(sigma.exp(), so3.exp(omega), (_mean_motion(omega, sigma) @ rho[..., None]).squeeze(-1))


def log(S: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 7"]:
    """Tangent vector (ρ, ω, σ) with |ω| <= π."""
    scale, R, t = split(S)
    omega, sigma = so3.log(R), scale.log()
    rho = torch.linalg.solve(_mean_motion(omega, sigma), t[..., None]).squeeze(-1)
    return torch.cat((rho, omega, sigma[..., None]), dim=-1)


def similarity_from_points(
    source: Float[Tensor, "p 3"], target: Float[Tensor, "p 3"], weights: Float[Tensor, "p"] | None = None
) -> Float[Tensor, "4 4"]:
    """The similarity that moves `source` onto `target` with the least weighted squares (Umeyama 1991, eq. 40-43).

    Raises `UserError` where the points lie on a line, so that the turn about it is anybody's guess.
    """
    w = torch.ones_like(source[:, 0]) if weights is None else weights
    w = (w / w.sum())[:, None]
    from_mean, to_mean = (w * source).sum(0), (w * target).sum(0)
    a, b = source - from_mean, target - to_mean
    U, D, Vt = torch.linalg.svd((w * b).mT @ a)
    if not D[1] > 1e-9 * D[0]:
        raise clear(
            "similarity from points",
            expected="at least three pairs that are not on one line",
            got=f"{len(source)} pairs on a line or at a point",
            do="add a point off the line",
        )
    sign = torch.ones_like(D)
    sign[2] = torch.linalg.det(U @ Vt).sign()
    R = (U * sign) @ Vt
    scale = (D * sign).sum() / (w * a * a).sum()
    return compose(scale, R, to_mean - scale * R @ from_mean)


def _mean_motion(omega: Tensor, sigma: Tensor) -> Tensor:
    """V = Σ wᵢ e^{σuᵢ} exp(uᵢω), written out in powers of [ω]."""
    u = torch.as_tensor(NODES, dtype=sigma.dtype, device=sigma.device)
    weights = torch.as_tensor(WEIGHTS, dtype=sigma.dtype, device=sigma.device) * (sigma[..., None] * u).exp()
    turned = torch.linalg.vector_norm(omega, dim=-1, keepdim=True) * u
    a = weights.sum(-1)[..., None, None]
    b = (weights * u * so3.sinc(turned)).sum(-1)[..., None, None]
    c = (weights * u**2 * so3.sinc(turned / 2) ** 2 / 2).sum(-1)[..., None, None]
    W = so3.hat(omega)
    return a * torch.eye(3, dtype=W.dtype, device=W.device) + b * W + c * (W @ W)
