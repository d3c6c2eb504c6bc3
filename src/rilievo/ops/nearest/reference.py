"""Nearest point of a triangle mesh by trying every face: the definition."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor


def nearest_on_surface(
    points: Float[Tensor, "n 3"], vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]
) -> tuple[Float[Tensor, "n"], Int64[Tensor, "n"], Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Distance, face, barycentric coordinates and point; every point meets every face, so n · f numbers are held.

    Of a triangle the nearest point is the foot of the perpendicular where that falls inside, and else the nearest point
    of its three sides.
    """
    corners = vertices[faces]
    candidates = torch.stack([_foot(points, corners), *(_on_side(points, corners, side) for side in range(3))], dim=2)
    feet = torch.einsum("nfcb,fbx->nfcx", candidates.nan_to_num(0), corners)
    distances = (feet - points[:, None, None]).norm(dim=-1)
    distances = distances.where(~candidates.isnan().any(dim=-1), torch.inf)
    distance, best = distances.flatten(1).min(dim=1)
    rows = torch.arange(len(points), device=points.device)
    return distance, best // 4, candidates.flatten(1, 2)[rows, best], feet.flatten(1, 2)[rows, best]


def _foot(points: Float[Tensor, "n 3"], corners: Float[Tensor, "f 3 3"]) -> Float[Tensor, "n f 3"]:
    """Barycentric coordinates of the foot of the perpendicular; NaN where it falls outside or the face has no area."""
    a, b, c = corners.unbind(dim=1)
    normal = torch.linalg.cross(b - a, c - a)
    to_point = points[:, None] - a
    v = (torch.linalg.cross(to_point, (c - a).expand_as(to_point)) * normal).sum(dim=-1) / normal.square().sum(dim=-1)
    w = (torch.linalg.cross((b - a).expand_as(to_point), to_point) * normal).sum(dim=-1) / normal.square().sum(dim=-1)
    weights = torch.stack([1 - v - w, v, w], dim=-1)
    return weights.where((weights >= 0).all(dim=-1, keepdim=True), torch.nan)


def _on_side(points: Float[Tensor, "n 3"], corners: Float[Tensor, "f 3 3"], side: int) -> Float[Tensor, "n f 3"]:
    """Barycentric coordinates of the nearest point of the side from corner `side` to the next one."""
    start, end = corners[:, side], corners[:, (side + 1) % 3]
    along = end - start
    t = ((points[:, None] - start) * along).sum(dim=-1) / along.square().sum(dim=-1)
    t = t.nan_to_num(0).clamp(0, 1)
    weights = t.new_zeros(*t.shape, 3)
    weights[..., side], weights[..., (side + 1) % 3] = 1 - t, t
    return weights
