"""How a motion turns what it carries: the rotation in its local linear part.

J = ∂f/∂x is found by differences over a small step; its rotation is the orthogonal factor of the polar decomposition
J = R S, by Newton's iteration X ← (X + X⁻ᵀ) / 2 (Higham 1986). A thing that keeps its shape while it moves by f = g ∘ h
with an arbitrary map h between canonical and true shape turns, from one moment to another, as R does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rilievo.geometry import so3

ROUNDS = 8
"""Of Newton's iteration; it squares the error once it is near."""


@torch.no_grad()
def turning(
    f: Callable[[Float[Tensor, "m 3"]], Float[Tensor, "m 3"]],
    x: Float[Tensor, "n 3"],
    fx: Float[Tensor, "n 3"],
    step: float,
) -> Float[Tensor, "n 4"]:
    """Quaternions wxyz of the rotation of f at x, given fx = f(x); without gradients.

    Where f turns space inside out, nothing is turned.
    """
    aside = x + step * torch.eye(3, dtype=x.dtype, device=x.device)[:, None]  # [3, n, 3]
    J = ((f(aside.flatten(0, 1)).view_as(aside) - fx) / step).permute(1, 2, 0)
    return so3.quaternion_from_matrix(rotation_of(J))


@torch.no_grad()
def cells(x: Float[Tensor, "n 3"], side: float) -> tuple[Float[Tensor, "m 3"], Int[Tensor, "n"]]:
    """Centres of the cubes of a lattice that hold any of the points, and which of them holds each.

    Neighbours turn nearly alike, so that a turn found once per cube does for all points in it. Cubes three times as
    wide as points on a surface are apart are a tenth as many.
    """
    corner = (x / side).floor().long()
    least = corner.amin(0)
    width = (corner.amax(0) - least + 1).tolist()
    a, b, c = (corner - least).unbind(-1)
    held, of = ((a * width[1] + b) * width[2] + c).unique(return_inverse=True)
    row = held // width[2]
    middles = torch.stack((row // width[1], row % width[1], held % width[2]), dim=-1) + least
    return (middles.to(x) + 0.5) * side, of


def rotation_of(J: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
    """The rotation of J's polar decomposition; the identity where det J is not positive."""
    sound = torch.linalg.det(J) > torch.finfo(J.dtype).tiny
    eye = torch.eye(3, dtype=J.dtype, device=J.device)
    X = torch.where(sound[:, None, None], J, eye)
    for _ in range(ROUNDS):
        a, b, c = X.unbind(-1)
        cofactors = torch.stack((b.cross(c, dim=-1), c.cross(a, dim=-1), a.cross(b, dim=-1)), dim=-1)
        det = (a * cofactors[..., 0]).sum(-1)
        inverse_transposed = cofactors / det[:, None, None]
        size = (torch.linalg.matrix_norm(inverse_transposed) / torch.linalg.matrix_norm(X)).sqrt()[:, None, None]
        X = (size * X + inverse_transposed / size) / 2
    return X


def quaternion_product(a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Hamilton's product of quaternions wxyz: turned by b, then by a."""
    w, v = a[..., :1], a[..., 1:]
    s, u = b[..., :1], b[..., 1:]
    return torch.cat((w * s - (v * u).sum(-1, keepdim=True), w * u + s * v + torch.cross(v, u, dim=-1)), dim=-1)
