"""Points from their pixels in several posed photos, by linear least squares (Hartley & Zisserman 2004, §12.2).

A camera with the 3x4 projection P = K [R | t], of rows p₁, p₂, p₃, sees the point X at the pixel (u, v) where

    (p₁ − u p₃) · (X, 1) = 0      and      (p₂ − v p₃) · (X, 1) = 0,

two linear equations per camera in the three coordinates of X. Their least squares weigh a camera by the distance of the
point from it, so this is a start rather than the last word; exact pixels give the exact point.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def triangulate(
    pixels: Float[Tensor, "*scenes cameras points 2"], projections: Float[Tensor, "*scenes cameras 3 4"]
) -> Float[Tensor, "*scenes points 3"]:
    """World points that each camera sees at its pixels; NaN where two cameras or more do not determine one.

    Pixels count as the projections do. Solved in double precision, answered in the pixels' own.
    """
    uv, P = pixels.double(), projections.double()
    rows = P[..., None, :2, :] - uv[..., None] * P[..., None, 2:, :]  # [cameras, points, 2, 4]
    rows = rows.movedim(-4, -3).flatten(-3, -2)  # [points, 2 cameras, 4]
    A, b = rows[..., :3], -rows[..., 3:]
    points = torch.linalg.pinv(A, rtol=DEPENDENT) @ b
    determined = torch.linalg.matrix_rank(A, rtol=DEPENDENT) == 3
    return torch.where(determined[..., None], points[..., 0], torch.nan).to(pixels)


DEPENDENT = 1e-9
"""Ratio of singular values below which the equations do not determine a point: all rays are one."""
