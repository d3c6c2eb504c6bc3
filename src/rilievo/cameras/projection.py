"""From a 3x4 projection matrix P ~ K [R | t] back to the camera (Hartley & Zisserman 2004, §6.2.4)."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from rilievo.errors import clear
from rilievo.geometry import se3


def decompose(P: Float64[Tensor, "n 3 4"]) -> tuple[Float64[Tensor, "n 3 3"], Float64[Tensor, "n 4 4"]]:
    """K (positive diagonal, K[2, 2] = 1, with skew) and world_from_cam of projections known up to a factor of any sign.

    Raises `UserError` where the left 3x3 block is singular: such a camera has no centre.
    """
    M = P[:, :, :3]
    singular = torch.linalg.cond(M) > 1e12
    if singular.any():
        raise clear(
            f"projection {int(singular.nonzero()[0, 0])}",
            expected="an invertible left 3x3 block",
            got="a singular one",
            do="check that the matrix maps world points to pixels",
        )
    K, R = _rq(M * torch.linalg.det(M).sign()[:, None, None])  # with det M > 0 both factors keep their handedness
    centers = -torch.linalg.solve(M, P[:, :, 3:]).squeeze(-1)
    return K / K[:, 2:, 2:], se3.compose(R.mT, centers)


def _rq(M: Tensor) -> tuple[Tensor, Tensor]:
    """M = upper triangular with positive diagonal times orthogonal: QR of the matrix read backwards."""
    Q, U = torch.linalg.qr(M.flip(-2).mT)
    upper, orthogonal = U.mT.flip(-2, -1), Q.mT.flip(-2)
    sign = torch.diagonal(upper, dim1=-2, dim2=-1).sign()
    return upper * sign[:, None, :], sign[:, :, None] * orthogonal
