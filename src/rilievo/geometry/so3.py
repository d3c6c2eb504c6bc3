"""Rotations: SO(3), its exponential and logarithm, quaternions, means.

ω is a rotation vector: axis times angle θ in radians; [ω] its cross-product matrix; q = (w, x, y, z) a unit
quaternion. With sinc(u) = sin(u)/u, Rodrigues' formula R = 1 + sinc(θ) [ω] + ½ sinc²(θ/2) [ω]² has no 0/0 near the
identity, and a logarithm that passes through the quaternion has none near the identity nor near θ = π (Solà, Deray,
Atchuthan 2018, arXiv:1812.01537).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def sinc(u: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """sin(u)/u, 1 at 0."""
    return torch.sinc(u / math.pi)


def hat(omega: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The matrix [ω] with [ω] v = ω x v."""
    x, y, z = omega.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), dim=-1).unflatten(-1, (3, 3))


def exp(omega: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation by |ω| radians about ω."""
    theta = torch.linalg.vector_norm(omega, dim=-1)[..., None, None]
    W = hat(omega)
    return torch.eye(3, dtype=W.dtype, device=W.device) + sinc(theta) * W + sinc(theta / 2) ** 2 / 2 * (W @ W)


def log(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Rotation vector of length at most π; at π itself one of the two answers."""
    q = quaternion_from_matrix(R)
    half = torch.atan2(torch.linalg.vector_norm(q[..., 1:], dim=-1), q[..., 0])
    return q[..., 1:] * (2 / sinc(half))[..., None]


def quaternion_from_matrix(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternion wxyz with w >= 0.

    4 q qᵀ is linear in R; its column with the largest diagonal entry is q up to length, without cancellation (Shepperd
    1978).
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in R.unbind(-2))
    outer = torch.stack(
        (
            *(1 + a + e + i, h - f, c - g, d - b),
            *(h - f, 1 + a - e - i, b + d, c + g),
            *(c - g, b + d, 1 - a + e - i, f + h),
            *(d - b, c + g, f + h, 1 - a - e + i),
        ),
        dim=-1,
    ).unflatten(-1, (4, 4))
    largest = torch.diagonal(outer, dim1=-2, dim2=-1).argmax(-1)
    q = torch.take_along_dim(outer, largest[..., None, None], dim=-2).squeeze(-2)
    q = q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def matrix_from_quaternion(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation of a quaternion wxyz of any length but 0."""
    q = q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)
    w, v = q[..., :1, None], q[..., 1:]
    V = hat(v)
    return torch.eye(3, dtype=q.dtype, device=q.device) + 2 * (w * V + V @ V)


def nearest(M: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation nearest to a matrix in the Frobenius norm (Kabsch 1976)."""
    U, _, Vt = torch.linalg.svd(M)
    sign = torch.linalg.det(U @ Vt)
    flip = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), dim=-1)
    return (U * flip[..., None, :]) @ Vt


def mean(R: Float[Tensor, "n 3 3"]) -> Float[Tensor, "3 3"]:
    """Chordal mean: the rotation with the least sum of squared Frobenius distances (Hartley et al. 2013, §5.3)."""
    return nearest(R.mean(0))


def angle(A: Float[Tensor, "*b 3 3"], B: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b"]:
    """Angle in radians, 0 to π, of the rotation between two rotations; accurate at both ends."""
    return torch.linalg.vector_norm(log(A.mT @ B), dim=-1)
