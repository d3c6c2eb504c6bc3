"""Rays against every face of a mesh, the definition, in plain torch and any precision.

The plane through a face is met where o + t d = a + β (b - a) + γ (c - a) (Möller & Trumbore 1997); the point is on the
face where β, γ and 1 - β - γ are not negative.
"""

import torch
from torch import Tensor


def first_hit(
    origins: Tensor, directions: Tensor, vertices: Tensor, faces: Tensor, t_max: float = torch.inf
) -> tuple[Tensor, Tensor]:
    """t [n], infinite for a miss, and face [n], -1 for a miss."""
    corners = vertices[faces]
    t = origins.new_full((len(origins),), torch.inf)
    face = torch.full((len(origins),), -1, device=origins.device)
    for i in range(len(origins)):
        ts, barycentric, meets = plane_hits(origins[i].expand(len(faces), 3), directions[i], corners)
        meets = meets & (barycentric >= 0).all(-1) & (ts > 0) & (ts < t_max)
        if bool(meets.any()):
            face[i] = torch.where(meets, ts, torch.inf).argmin()
            t[i] = ts[face[i]]
    return t, face


def plane_hits(origins: Tensor, directions: Tensor, corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """t [n], barycentric coordinates [n, 3] and whether there is such a point [n], of each ray with its own face."""
    a, b, c = corners.unbind(-2)
    ab, ac, from_a = b - a, c - a, origins - a
    across = torch.linalg.cross(directions.expand_as(ac), ac, dim=-1)
    determinant = (ab * across).sum(-1)
    meets = determinant != 0
    inverse = 1 / torch.where(meets, determinant, 1.0)
    beta = (from_a * across).sum(-1) * inverse
    around = torch.linalg.cross(from_a, ab, dim=-1)
    gamma = (directions * around).sum(-1) * inverse
    t = (ac * around).sum(-1) * inverse
    return t, torch.stack([1 - beta - gamma, beta, gamma], -1), meets
